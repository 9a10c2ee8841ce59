"""Puts a whole packet on a device by AF_PACKET, past the IP stack."""
args = arguments("device", "mac", "own-mac", "mode", "from")
v6 = ":" in args.to
ethertype = 0x86DD if v6 else 0x0800
packet = udp_packet(getattr(args, "from"), args.to, 9, MARKER)
mac = bytes.fromhex(args.mac.replace(":", ""))
own = bytes.fromhex(args.own_mac.replace(":", ""))
sent, error = 0, None
try:
    if args.mode == "dgram":
        out = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    else:
        out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    if args.mode == "bypass":
        out.setsockopt(263, 20, 1)  # SOL_PACKET, PACKET_QDISC_BYPASS
    for _ in range(3):
        if args.mode == "dgram":
            out.sendto(packet, (args.device, ethertype, 0, 1, mac))
        else:
            out.sendto(mac + own + struct.pack("!H", ethertype) + packet, (args.device, ethertype))
        sent += 1
except OSError as cause:
    error = cause
report(sent, None, error)
