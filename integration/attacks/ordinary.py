"""What every app may do where it is permitted: large datagrams in fragments, and ping."""
args = arguments("kind", "port")
af = family(args.to)
sent, got, error = 0, None, None
try:
    if args.kind == "fragments":
        out = socket.socket(af, socket.SOCK_DGRAM)
        data = bytes(range(250)) * 20
        to = (args.to, int(args.port))
    else:
        v6 = af == socket.AF_INET6
        out = socket.socket(af, socket.SOCK_DGRAM, 58 if v6 else 1)
        data = struct.pack("!BBHHH", 128 if v6 else 8, 0, 0, 0, 1) + b"ping" * 14
        to = (args.to, 0)
    out.settimeout(2)
    out.sendto(data, to)
    sent = 1
    back = out.recv(65535)
    if args.kind == "fragments":
        got = "echo" if back == data else "%d bytes" % len(back)
    else:
        got = "echo" if back[8:] == data[8:] else back.hex()
except OSError as cause:
    error = cause
report(sent, got, error)
