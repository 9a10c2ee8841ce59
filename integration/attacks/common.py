"""What every attack shares: its arguments, and the one JSON line that says what it tried and what it got."""
import argparse
import json
import socket
import struct

MARKER = b"portreeve-leak"


def arguments(*names):
    parser = argparse.ArgumentParser()
    parser.add_argument("--to", required=True)
    for name in names:
        parser.add_argument("--" + name)
    return parser.parse_args()


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def report(sent=0, got=None, error=None):
    print(json.dumps({"sent": sent, "got": got, "error": None if error is None else str(error)}), flush=True)


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def udp_packet(source, target, port, payload):
    """An IP packet, v4 or v6, that carries one UDP datagram."""
    af = family(target)
    src, dst = socket.inet_pton(af, source), socket.inet_pton(af, target)
    length = 8 + len(payload)
    pseudo = src + dst + struct.pack("!IHH", length, 0, 17) if af == socket.AF_INET6 else src + dst + struct.pack("!HH", 17, length)
    total = checksum(pseudo + struct.pack("!HHHH", 40000, port, length, 0) + payload) or 0xFFFF
    datagram = struct.pack("!HHHH", 40000, port, length, total) + payload
    if af == socket.AF_INET6:
        return struct.pack("!IHBB", 0x60000000, length, 17, 64) + src + dst + datagram
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 1, 0, 64, 17, 0) + src + dst
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + datagram


def question():
    """A DNS question for portreeve-leak.example.com, type A."""
    name = b"".join(bytes([len(label)]) + label for label in (MARKER, b"example", b"com", b""))
    return struct.pack("!HHHHHH", 0x1234, 0x0100, 1, 0, 0, 0) + name + struct.pack("!HH", 1, 1)
