"""Tells the kernel, on lo and in the gateway's name, that a neighbour is the better way to a permitted address (RFC 792)."""
args = arguments("own", "gateway", "neighbour")
sent, got, error = 0, None, None


def packet(source, target, protocol, body):
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0, 64, protocol, 0) + socket.inet_aton(source) + socket.inet_aton(target)
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + body


try:
    live = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    live.connect((args.to, 9000))
    live.settimeout(1)
    live.send(b"before")
    live.recv(100)
    about = packet(args.own, args.to, 17, struct.pack("!HHHH", live.getsockname()[1], 9000, 14, 0))
    body = struct.pack("!BBH", 5, 1, 0) + socket.inet_aton(args.neighbour) + about
    body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
    inject = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    for _ in range(3):
        inject.sendto(bytes(12) + b"\x08\x00" + packet(args.gateway, args.own, 1, body), ("lo", 0x0800))
    live.send(MARKER)
    sent = 1
    got = "echo" if live.recv(100) == MARKER else "something else"
except OSError as cause:
    error = cause
report(sent, got, error)
