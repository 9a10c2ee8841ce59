"""Makes a conntrack entry that looks as if the target had spoken first, over loopback, then "replies" to it."""
args = arguments("own", "mode", "proto")
af = family(args.to)
kind = socket.SOCK_DGRAM if args.proto == "udp" else socket.SOCK_STREAM
OPTION = {  # (level, name): linux/in.h, linux/in6.h
    (socket.AF_INET, "transparent"): (socket.IPPROTO_IP, 19),
    (socket.AF_INET6, "transparent"): (socket.IPPROTO_IPV6, 75),
    (socket.AF_INET6, "freebind"): (socket.IPPROTO_IPV6, 78),
}[(af, args.mode)]
sent, got, error = 0, None, None
try:
    inside = socket.socket(af, kind)
    inside.bind((args.own, 5555))
    stranger = socket.socket(af, kind)
    stranger.setsockopt(*OPTION, 1)
    stranger.bind((args.to, 9999))
    if kind == socket.SOCK_DGRAM:
        inside.settimeout(1)
        try:
            stranger.sendto(b"hello", (args.own, 5555))
            inside.recv(100)
            got = "forged datagram"
        except OSError as cause:
            error = cause
        for _ in range(3):
            inside.sendto(MARKER, (args.to, 9999))
            sent += 1
    else:
        # The listener's own SYN-ACK is the packet that leaves.
        inside.listen()
        stranger.setblocking(False)
        code = stranger.connect_ex((args.own, 5555))
        error = None if code in (0, 115) else OSError(code, "connect")
        sent = 1
        inside.settimeout(1)
        try:
            inside.accept()
            got = "forged connection"
        except OSError:
            pass
except OSError as cause:
    error = cause
report(sent, got, error)
