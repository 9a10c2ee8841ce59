"""Questions that are none, nearly none, or hard to write down, for some seconds; from a seed, so that a run can be had again."""
import random
import time

args = arguments("seed")
random.seed(int(args.seed or 1))
LONG = [bytes([1]) * 63, bytes([2]) * 63, bytes([3]) * 63, bytes([4]) * 40]
LABELS = [[b"api"], LONG, [b'"\\\n\0\x1b[31m'], [b"a.b"], [b"\xff\xfe"], [b"x" * 63] * 3, [bytes([one]) for one in range(1, 64)]]
sent, error = 0, None


def ask(labels, extra=b""):
    zone = [b"example", b"com"] if labels == [b"api"] else [b"wild", b"example", b"com"]
    name = b"".join(bytes([len(label)]) + label for label in labels + zone) + b"\0"
    return struct.pack("!HHHHHH", random.getrandbits(16), 0x0100, 1, 0, 0, 1 if extra else 0) + name + struct.pack("!HH", 1, 1) + extra


def spoilt(data):
    data = bytearray(data)
    for _ in range(random.randrange(6)):
        at = random.randrange(len(data) + 1)
        deed = random.randrange(4)
        if deed == 0:
            data[at:at + 1] = bytes([random.getrandbits(8)])
        elif deed == 1:
            del data[at:at + random.randrange(9)]
        elif deed == 2:
            data[at:at] = random.randbytes(random.randrange(1, 30))
        else:
            data[at:at + 1] = b"\xc0"
    return bytes(data)


plain = [ask(labels) for labels in LABELS] + [ask([b"api"], b"\0\0\x29\x04\xd0\0\0\x80\0\0\0")]
try:
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    out.settimeout(0.5)
    # What makes the resolver complain at every question: a permitted name that cannot be noted.
    for _ in range(1500):
        out.sendto(ask(LONG), ("127.0.0.1", 5453))
        out.recv(4096)
    out.setblocking(False)
    end = time.time() + 3
    while time.time() < end:
        try:
            out.sendto(random.choice(plain) if sent % 4 == 0 else spoilt(random.choice(plain)), ("127.0.0.1", 53 if sent % 3 else 5453))
            sent += 1
            out.recv(4096)
        except OSError:
            time.sleep(0.0005)
        if sent % 500 == 0:
            with socket.create_connection(("127.0.0.1", 5453), timeout=1) as stream:
                data = spoilt(random.choice(plain))
                stream.sendall(struct.pack("!H", random.choice([len(data), 0, 1, 65535])) + data)
except OSError as cause:
    error = cause
report(sent, None, error)
