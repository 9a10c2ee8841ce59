"""Packets of protocols other than TCP and UDP, with a payload that has no business there."""
args = arguments("kind", "hops")
af, hops = family(args.to), int(args.hops)
sent, error = 0, None


def icmp6(kind, body):
    out = socket.socket(af, socket.SOCK_RAW, 58)
    out.setsockopt(socket.IPPROTO_IPV6, 16, hops)  # IPV6_UNICAST_HOPS
    return out, struct.pack("!BBH", kind, 0, 0) + body


def raw4(protocol, body):
    out = socket.socket(af, socket.SOCK_RAW, protocol)
    out.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)
    return out, body


try:
    if args.kind == "nd":
        out, data = icmp6(135, bytes(20) + MARKER)
    elif args.kind == "echo6":
        out, data = icmp6(128, struct.pack("!HH", 7, 1) + MARKER)
    elif args.kind == "mld":
        out, data = icmp6(143, bytes(4) + MARKER)
    elif args.kind == "igmp":
        out, data = raw4(2, bytes(8) + MARKER)
    elif args.kind == "unknown":
        out, data = raw4(253, MARKER)
    elif args.kind == "options":
        # Destination options (60) that hold nothing but padding, then UDP.
        out = socket.socket(af, socket.SOCK_RAW, 60)
        out.setsockopt(socket.IPPROTO_IPV6, 16, hops)
        data = struct.pack("!BBBB4x", 17, 0, 1, 4) + struct.pack("!HHHH", 40000, 9, 8 + len(MARKER), 0) + MARKER
    elif args.kind == "fragment":
        packet = udp_packet("0.0.0.0", args.to, 9, MARKER)
        out, data = raw4(255, packet[:6] + struct.pack("!H", 100) + packet[8:20] + MARKER + bytes(10))
    elif args.kind == "hdrincl":
        # A source of zero is filled in by the kernel, which also makes the checksum of the IP header.
        out, data = raw4(255, udp_packet("0.0.0.0", args.to, 9, MARKER))
    else:
        out = socket.socket(af, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
        data = struct.pack("!BBHHH", 8, 0, 0, 0, 1) + MARKER
    for _ in range(3):
        out.sendto(data, (args.to, 0))
        sent += 1
except OSError as cause:
    error = cause
report(sent, None, error)
