"""Prints every DNS reply that reaches a client over loopback, one JSON line each: what was asked, and what it was told."""
import json
import socket
import struct

PACKET_HOST = 0
tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
tap.bind(("lo", 0))
print("ready", flush=True)


def payloads(frame):
    """Of UDP the datagram; of TCP the messages of one segment, each after its length."""
    at, kind = 14, frame[23]
    at += (frame[14] & 15) * 4
    if frame[12:14] != b"\x08\x00" or kind not in (6, 17) or struct.unpack_from("!H", frame, at)[0] not in (53, 5453):
        return
    if kind == 17:
        yield frame[at + 8:]
        return
    data = frame[at + (frame[at + 12] >> 4) * 4:14 + struct.unpack_from("!H", frame, 16)[0]]
    while len(data) > 2:
        length = struct.unpack_from("!H", data)[0]
        yield data[2:2 + length]
        data = data[2 + length:]


while True:
    frame, (_, _, kind, _, _) = tap.recvfrom(70000)
    if kind != PACKET_HOST:
        continue
    for message in payloads(frame):
        if len(message) < 17 or not message[2] & 0x80:
            continue
        labels, at = [], 12
        while message[at]:
            labels.append(message[at + 1:at + 1 + message[at]].decode("ascii", "replace"))
            at += 1 + message[at]
        rtype = struct.unpack_from("!H", message, at + 1)[0]
        answers = struct.unpack_from("!H", message, 6)[0]
        name = ".".join(labels).lower()
        print(json.dumps({"name": name, "rtype": rtype, "rcode": message[3] & 15, "answers": answers}), flush=True)
