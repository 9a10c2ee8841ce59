"""Answers the proxy's question before the resolver does: reads it from the wire, and puts an answer on lo in the resolver's name."""
args = arguments("own", "name", "address")
sent, got, error = 0, None, None
v6 = family(args.to) == socket.AF_INET6
wire_name = b"".join(bytes([len(label)]) + label.encode() for label in args.name.split(".")) + b"\0"
try:
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    tap.bind(("eth0", 3))
    tap.settimeout(3)
    inject = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(3)
    client.sendto(struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + wire_name + struct.pack("!HH", 1, 1), ("127.0.0.1", 5453))
    while sent == 0:
        seen = tap.recv(2000)
        start = 14 + (40 if v6 else 20)
        if wire_name not in seen.lower() or seen[start + 2:start + 4] != b"\0\x35":
            continue
        port, asked = struct.unpack("!H", seen[start:start + 2])[0], seen[start + 8:]
        end = 12 + len(wire_name) + 4
        record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + socket.inet_aton(args.address)
        answer = asked[:2] + struct.pack("!HHHHH", 0x8180, 1, 1, 0, 0) + asked[12:end] + record
        header = struct.pack("!HHHH", 53, port, 8 + len(answer), 0) + answer
        ends = b"".join(socket.inet_pton(family(args.to), one) for one in (args.to, args.own))
        header = header[:6] + struct.pack("!H", checksum(ends + struct.pack("!II", len(header), 17) + header) or 0xFFFF) + header[8:]
        if v6:
            packet = struct.pack("!IHBB", 0x60000000, len(header), 17, 64) + ends + header
        else:
            packet = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(header), 1, 0, 64, 17, 0) + ends
            packet = packet[:10] + struct.pack("!H", checksum(packet)) + packet[12:] + header
        kind = 0x86DD if v6 else 0x0800
        inject.sendto(bytes(12) + struct.pack("!H", kind) + packet, ("lo", kind))
        sent = 1
    got = socket.inet_ntoa(client.recv(2000)[-4:])
except OSError as cause:
    error = cause
report(sent, got, error)
