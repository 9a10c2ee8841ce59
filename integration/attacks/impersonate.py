"""Asks as if it were the proxy: its uid, and guesses at its mark and priority. A bounded number: the space has 64 bits."""
import os
import random

args = arguments("uid", "marks", "ports")
sent, got, error = 0, None, None
if args.uid is not None:
    # Capabilities stay over the change of uid (PR_SET_KEEPCAPS) and are made effective again, as a container's root can arrange.
    import ctypes

    libc = ctypes.CDLL(None)
    libc.prctl(8, 1, 0, 0, 0)
    try:
        os.setuid(int(args.uid))
        header, words = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        libc.capget(header, words)
        words[0], words[3] = words[1], words[4]  # effective = permitted
        libc.capset(header, words)
    except OSError as cause:
        error = cause
out = socket.socket(family(args.to), socket.SOCK_DGRAM)
out.settimeout(0.5)
data, to = question(), (args.to, 53)
marks = int(args.marks or 0)
try:
    out.sendto(data, to)
    sent += 1
except OSError as cause:
    error = cause
for guess in range(marks):
    # Priorities above 6 need NET_ADMIN.
    out.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, guess % 7)
    mark = guess if guess % 2 else random.getrandbits(32)
    try:
        # SOL_SOCKET, SO_MARK; needs NET_RAW.
        out.sendmsg([data], [(1, 36, struct.pack("I", mark))], 0, to)
        sent += 1
    except OSError as cause:
        error = cause
        if cause.errno == 1 and guess == 0:
            break
if args.ports is not None:
    # A flow of the proxy may be known by its ports alone: the right one is among all of them.
    for port in range(1024, 65536):
        with socket.socket(family(args.to), socket.SOCK_DGRAM) as one:
            try:
                one.bind(("", port))
                one.sendto(data, to)
                sent += 1
            except OSError as cause:
                error = cause
try:
    got = out.recv(2000).hex()
except OSError:
    pass
report(sent, got, error)
