"""Ways out that are neither a plain connection nor a plain frame, one a kind. `--via` is an address that the policy permits."""
import mmap
import time

args = arguments("kind", "via", "own", "gateway", "link-local", "mac", "own-mac", "port")
af, sent, got, error = family(args.to), 0, None, None
kept = []
V6 = af == socket.AF_INET6
own, via = args.own, args.via
port = int(args.port or 9)
UDP = struct.pack("!HHHH", 40000, port, 8 + len(MARKER), 0) + MARKER


def ip4(source, target, protocol, body, options=b"", place=0, number=1, ttl=64):
    options += b"\0" * (-len(options) % 4)
    header = struct.pack("!BBHHHBBH", 0x45 + len(options) // 4, 0, 20 + len(options) + len(body), number, place, ttl, protocol, 0)
    header += socket.inet_aton(source) + socket.inet_aton(target) + options
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + body


def ip6(source, target, following, body, hops=64):
    pair = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target)
    return struct.pack("!IHBB", 0x60000000, len(body), following, hops) + pair + body


def transport(source, target, protocol, header, at):
    """A transport header with its checksum, which stands at byte `at`."""
    ends = b"".join(socket.inet_pton(family(target), one) for one in (source, target))
    total = checksum(ends + struct.pack("!II", len(header), protocol) + header)
    return header[:at] + struct.pack("!H", total) + header[at + 2:]


def udp(source, target, to_port=port, from_port=40000):
    return transport(source, target, 17, struct.pack("!HHHH", from_port, to_port, 8 + len(MARKER), 0) + MARKER, 6)


def tcp(source, target, flags, to_port=port, from_port=40000):
    return transport(source, target, 6, struct.pack("!HHIIBBHHH", from_port, to_port, 1, 1, 0x50, flags, 1000, 0, 0) + MARKER, 16)


def raw(packet, to=args.to, protocol=255, option=None):
    """Sends a whole IP packet from a raw socket."""
    global sent
    v6 = ":" in to
    out = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_RAW, protocol)
    if v6 and protocol == 255:
        out.setsockopt(socket.IPPROTO_IPV6, 36, 1)  # IPV6_HDRINCL
    if option:
        out.setsockopt(*option)
    out.sendto(packet, (to, 0))
    sent += 1


def datagram(to=args.to, to_port=port, options=(), bind=None, data=MARKER, flags=0):
    global sent
    out = socket.socket(family(to.split("%")[0]), socket.SOCK_DGRAM)
    for option in options:
        out.setsockopt(*option)
    if bind:
        out.bind(bind)
    name, _, device = to.partition("%")
    target = (name, to_port, 0, socket.if_nametoindex(device)) if device else (to, to_port)
    out.sendto(data, flags, target) if flags else out.sendto(data, target)
    sent += 1
    # Not closed before the end: the kernel would answer what comes back.
    kept.append(out)
    return out


def frame(device, packet, ethertype=None, mac=args.mac):
    """Puts a packet on a device by AF_PACKET. On lo it is received as if it came from outside the process, but by lo."""
    global sent
    ethertype = ethertype or (0x86DD if packet[0] >> 4 == 6 else 0x0800)
    out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    ends = bytes(12) if device == "lo" else bytes.fromhex((mac + args.own_mac).replace(":", ""))
    out.sendto(ends + struct.pack("!H", ethertype) + packet, (device, ethertype))
    sent += 1


def source_route(kind):
    # The first hop is permitted, the last is not (RFC 791): the kernel writes the hop into the destination.
    options = struct.pack("!BBB", kind, 7, 4) + socket.inet_aton(via) + b"\1"
    datagram(to_port=9000, options=[(socket.IPPROTO_IP, socket.IP_OPTIONS, options)])


def routing_header(kind):
    last = socket.inet_pton(socket.AF_INET6, args.to)
    body = {0: struct.pack("!BBBB4x", 17, 2, 0, 1), 2: struct.pack("!BBBB4x", 17, 2, 2, 1), 4: struct.pack("!BBBBBBH", 17, 2, 4, 1, 0, 0, 0)}[kind]
    raw(ip6(own, via, 43, body + last + udp(own, args.to, 9000)), via)


def ring():
    """A frame through a mapped ring (PACKET_TX_RING), the way that fast senders go."""
    global sent
    out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    out.setsockopt(263, 13, struct.pack("IIII", 4096, 1, 2048, 2))  # SOL_PACKET, PACKET_TX_RING
    memory = mmap.mmap(out.fileno(), 4096)
    data = bytes.fromhex((args.mac + args.own_mac).replace(":", "")) + b"\x08\x00" + ip4(own, args.to, 17, udp(own, args.to))
    out.bind(("eth0", 0x0800))
    memory[32:32 + len(data)] = data
    memory[8:12] = struct.pack("I", len(data))
    memory[0:8] = struct.pack("L", 1)  # TP_STATUS_SEND_REQUEST
    out.send(b"")
    sent += 1


def stream(options=(), bind=None, flags=0, to=args.to):
    global sent
    out = socket.socket(family(to), socket.SOCK_STREAM)
    out.settimeout(1)
    for option in options:
        out.setsockopt(*option)
    if bind:
        out.bind(bind)
    if flags:
        out.sendto(MARKER, flags, (to, port))
    else:
        out.connect((to, port))
    sent += 1


def icmp(kind, code=0, to=args.to, inner=b""):
    if V6:
        out = socket.socket(af, socket.SOCK_RAW, 58)
        # As the kernel's own have it.
        hops = 255 if 133 <= kind <= 137 else 1
        for option in (16, 18):  # IPV6_UNICAST_HOPS, IPV6_MULTICAST_HOPS
            out.setsockopt(socket.IPPROTO_IPV6, option, hops)
        out.sendto(struct.pack("!BBHI", kind, code, 0, 0) + inner + MARKER, (to, 0))
    else:
        out = socket.socket(af, socket.SOCK_RAW, 1)
        body = struct.pack("!BBHI", kind, code, 0, 0) + inner + MARKER
        out.sendto(body[:2] + struct.pack("!H", checksum(body)) + body[4:], (to, 0))
    global sent
    sent += 1


def errors_of_a_live_flow(to):
    """An ICMP error about a flow that is open: conntrack calls it related."""
    live = datagram(via, 9000)
    mine = live.getsockname()[1]
    inner_udp = struct.pack("!HHHH", 9000, mine, 8, 0)
    if V6:
        icmp(1, 4, to, ip6(via, own, 17, inner_udp))
    else:
        icmp(3, 3, to, ip4(via, own, 17, inner_udp))


def on(option, value=1):
    return (socket.SOL_SOCKET, option, value)


DEVICE, PRIORITY, MARK, ZEROCOPY = 25, 12, 36, 60
TRANSPARENT = (socket.IPPROTO_IP, 19, 1)
FREEBIND6 = (socket.IPPROTO_IPV6, 78, 1)
NODEFRAG = (socket.IPPROTO_IP, 22, 1)
more = 0x2000
KINDS = {
    # Whoever is named as the source gets the answer of a permitted host.
    "spoofed-source-4": lambda: raw(ip4(args.to, via, 17, udp(args.to, via, 9000)), via),
    "spoofed-syn-4": lambda: raw(ip4(args.to, via, 6, tcp(args.to, via, 2, 443)), via),
    "spoofed-source-6": lambda: raw(ip6(args.to, via, 17, udp(args.to, via, 9000)), via),
    "spoofed-by-freebind-6": lambda: datagram(via, 9000, [FREEBIND6], (args.to, 7777)),
    "spoofed-by-transparent-4": lambda: datagram(via, 9000, [TRANSPARENT], (args.to, 7777)),
    # A permitted station, another destination.
    "loose-source-route": lambda: source_route(0x83),
    "routing-header-0": lambda: routing_header(0),
    "routing-header-2": lambda: routing_header(2),
    "routing-header-4": lambda: routing_header(4),
    "record-route": lambda: datagram(options=[(socket.IPPROTO_IP, socket.IP_OPTIONS, struct.pack("!BBB", 7, 39, 4) + bytes(37))]),
    # Headers before the one that is judged.
    "hop-by-hop": lambda: raw(ip6(own, args.to, 0, struct.pack("!BBBB4x", 17, 0, 1, 4) + udp(own, args.to)), args.to),
    "authentication-header": lambda: raw(ip6(own, args.to, 51, struct.pack("!BBHII", 17, 2, 0, 1, 1) + bytes(4) + udp(own, args.to)), args.to),
    "atomic-fragment": lambda: raw(ip6(own, args.to, 44, struct.pack("!BBHI", 17, 0, 0, 7) + udp(own, args.to)), args.to),
    "authentication-header-4": lambda: raw(ip4(own, args.to, 51, struct.pack("!BBHII", 17, 2, 0, 1, 1) + bytes(4) + udp(own, args.to))),
    # Fragments that the kernel does not put together (IP_NODEFRAG).
    "lone-later-fragment": lambda: raw(ip4(own, args.to, 17, MARKER + bytes(10), place=100), option=NODEFRAG),
    "first-fragment": lambda: raw(ip4(own, args.to, 17, UDP + bytes(2), place=more), option=NODEFRAG),
    "tiny-first-fragment": lambda: raw(ip4(own, args.to, 6, tcp(own, args.to, 2)[:8], place=more), option=NODEFRAG),
    "overlapping-fragments": lambda: [
        raw(ip4(own, via, 17, struct.pack("!HHHH", 40000, 9000, 64, 0) + bytes(8), place=more), via, option=NODEFRAG),
        raw(ip4(own, via, 17, MARKER + bytes(2), place=1), via, option=NODEFRAG),
    ],
    "port-in-a-later-fragment": lambda: raw(ip4(own, via, 6, MARKER + bytes(2), place=more | 1), via, option=NODEFRAG),
    # Segments that begin nothing.
    "ack": lambda: raw(ip4(own, args.to, 6, tcp(own, args.to, 0x10))),
    "syn-ack": lambda: raw(ip4(own, args.to, 6, tcp(own, args.to, 0x12))),
    "reset": lambda: raw(ip4(own, args.to, 6, tcp(own, args.to, 0x04))),
    "fin": lambda: raw(ip4(own, args.to, 6, tcp(own, args.to, 0x01))),
    "no-flags": lambda: raw(ip4(own, args.to, 6, tcp(own, args.to, 0))),
    "ack-to-another-port": lambda: raw(ip4(own, via, 6, tcp(own, via, 0x10, 22)), via),
    "another-port-from-443": lambda: raw(ip4(own, via, 17, udp(own, via, 22, 443)), via),
    # Data with the first segment, and other ways to send.
    "fast-open": lambda: stream(flags=0x20000000),
    "zerocopy": lambda: datagram(options=[on(ZEROCOPY)], flags=0x4000000),
    "segmentation-offload": lambda: datagram(options=[(17, 103, 500)], data=MARKER * 100),
    "low-ttl": lambda: [datagram(options=[(socket.IPPROTO_IP, socket.IP_TTL, ttl)], to_port=33434 + ttl) for ttl in (1, 2, 3)],
    "transparent-connect": lambda: stream([TRANSPARENT], ("203.0.113.201", 0)),
    # Marks: conntrack's are ours, a packet's are anybody's.
    **{"mark-%08x" % mark: (lambda mark=mark: datagram(options=[on(MARK, mark.to_bytes(4, "little"))]))
       for mark in (0xFFFE0000, 0xFFFF0000, 0xFFFFFFFF, 0x00010000)},
    "mark-and-stream": lambda: stream([on(MARK, (0xFFFF0000).to_bytes(4, "little")), on(PRIORITY, 6)]),
    # The proxy's port and the resolver's, from both ends.
    "to-the-proxys-port": lambda: datagram(to_port=5453),
    "to-the-proxys-port-tcp": lambda: stream(),
    "from-port-53": lambda: datagram(bind=("", 53)),
    "from-port-853": lambda: datagram(bind=("", 853)),
    "from-the-proxys-port": lambda: raw(ip4(own, args.to, 17, udp(own, args.to, 53000, 5453))),
    "from-the-proxys-address": lambda: raw(ip4("127.0.0.1", args.to, 17, udp("127.0.0.1", args.to, 40001, 5453))),
    "reply-of-a-resolver": lambda: raw(ip4(own, args.to, 17, udp(own, args.to, 40002, 53))),
    # Loopback addresses on a wire.
    "loopback-out-of-eth0": lambda: datagram("127.0.0.1", 53, [on(DEVICE, b"eth0")]),
    "loopback-alias-out-of-eth0": lambda: datagram("127.0.0.53", 53, [on(DEVICE, b"eth0")]),
    "loopback-6-out-of-eth0": lambda: datagram("::1", 53, [on(DEVICE, b"eth0")]),
    "loopback-stream-out-of-eth0": lambda: stream([on(DEVICE, b"eth0")], to="127.0.0.2"),
    # Into lo as if from outside: the kernel answers.
    "frame-on-lo-to-a-closed-port": lambda: frame("lo", ip4(args.to, own, 17, udp(args.to, own, 9999))),
    "frame-on-lo-to-a-closed-tcp-port": lambda: frame("lo", ip4(args.to, own, 6, tcp(args.to, own, 2, 9999))),
    "frame-on-lo-that-pings": lambda: frame("lo", ip4(args.to, own, 1, echo_request(8))),
    "frame-on-lo-that-pings-6": lambda: frame("lo", ip6(args.to, own, 58, transport(args.to, own, 58, echo_request(128), 2))),
    "frame-on-lo-to-a-closed-port-6": lambda: frame("lo", ip6(args.to, own, 17, udp(args.to, own, 9999))),
    # Other protocols to a permitted address.
    **{"protocol-%d" % number: (lambda number=number: raw(MARKER * 4, via, number)) for number in (4, 33, 41, 46, 47, 50, 51, 89, 103, 132, 136, 253)},
    **{"protocol-6-%d" % number: (lambda number=number: raw(MARKER * 4, via, number)) for number in (4, 41, 47, 50, 59, 89, 132, 135, 136, 139, 253)},
    "udp-lite": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 136).sendto(MARKER, (via, 9000)),
    # ICMP that is no echo, to a permitted address; errors that are related to a flow that is open.
    **{"icmp-%d" % number: (lambda number=number: icmp(number, to=via)) for number in (0, 3, 4, 5, 9, 10, 11, 12, 13, 14, 17, 42)},
    **{"icmp6-%d" % number: (lambda number=number: icmp(number, to=via)) for number in (1, 2, 3, 4, 129, 130, 131, 134, 135, 136, 137, 139, 143, 151, 160)},
    "error-of-a-live-flow": lambda: errors_of_a_live_flow(via),
    "error-of-a-live-flow-to-another": lambda: errors_of_a_live_flow(args.to),
    "error-of-a-live-flow-6": lambda: errors_of_a_live_flow(via),
    "solicitation-to-everybody": lambda: icmp(135, to="ff02::1%eth0", inner=bytes(12)),
    # Everybody on the link.
    "multicast": lambda: datagram("224.0.0.251", 5353),
    "multicast-far": lambda: datagram("239.1.2.3", 9000, [(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 32)]),
    "broadcast": lambda: datagram("255.255.255.255", 67, [on(socket.SO_BROADCAST)]),
    "broadcast-of-the-net": lambda: datagram(own.rsplit(".", 1)[0] + ".255", 9000, [on(socket.SO_BROADCAST)]),
    "multicast-6": lambda: datagram("ff02::fb%eth0", 5353),
    "neighbour": lambda: datagram(args.gateway, 9000),
    "neighbour-link-local-6": lambda: datagram(args.link_local + "%eth0", 9000),
    "ping-everybody-6": lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM, 58).sendto(echo_request(128), ("ff02::1", 0, 0, socket.if_nametoindex("eth0"))),
    # Frames whose type is not IP's.
    "arp-with-payload": lambda: frame("eth0", MARKER * 20, 0x0806),
    "arp-of-right-size": lambda: frame("eth0", struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) + MARKER[:12] + bytes(8), 0x0806, "ff:ff:ff:ff:ff:ff"),
    "local-experimental": lambda: frame("eth0", MARKER, 0x88B5),
    "vlan": lambda: frame("eth0", b"\0\5\x08\0" + ip4(own, args.to, 17, udp(own, args.to)), 0x8100),
    "link-layer-control": lambda: frame("eth0", b"\xaa\xaa\3\0\0\0\x08\0" + MARKER, 100),
    "ring": ring,
}


def echo_request(kind):
    body = struct.pack("!BBHHH", kind, 0, 0, 1, 1) + MARKER
    return body if kind == 128 else body[:2] + struct.pack("!H", checksum(body)) + body[4:]


if args.kind == "list":
    print(json.dumps(list(KINDS)))
else:
    # Each in a span of time of its own, so that the wire says whose a packet is.
    told = []
    for kind in args.kind.split(","):
        sent, error, start = 0, None, time.time()
        try:
            KINDS[kind]()
            sent = max(sent, 1)
        except OSError as cause:
            error = str(cause)
        time.sleep(0.03)
        told.append({"kind": kind, "from": start, "until": time.time(), "sent": sent, "error": error})
    print(json.dumps(told))
