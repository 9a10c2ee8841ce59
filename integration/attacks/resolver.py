"""Asks a resolver that is written into the app, by UDP or TCP, on its usual port or another."""
args = arguments("proto", "port")
port = int(args.port or 53)
sent, got, error = 0, None, None
try:
    if args.proto == "udp":
        out = socket.socket(family(args.to), socket.SOCK_DGRAM)
        out.settimeout(1)
        out.sendto(question(), (args.to, port))
        sent = 1
        got = out.recv(2000).hex()
    else:
        out = socket.create_connection((args.to, port), timeout=2)
        out.sendall(struct.pack("!H", len(question())) + question())
        sent = 1
        got = out.recv(2000).hex()
except OSError as cause:
    error = cause
report(sent, got, error)
