"""A DNS tunnel's client: so many names with random labels below a zone, each asked once; prints what came back, counted by code."""
import collections
import json
import os
import socket
import struct
import sys

server, zone, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
end = b"".join(bytes([len(label)]) + label.encode() for label in zone.split(".")) + b"\0"
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
out.settimeout(3)
out.connect((server, 53))
codes = collections.Counter()
for number in range(count):
    data = os.urandom(15).hex().encode()
    question = struct.pack("!6H", number, 0x100, 1, 0, 0, 0) + bytes([len(data)]) + data + end + struct.pack("!2H", 16, 1)
    out.send(question)
    while True:
        reply = out.recv(2000)
        if struct.unpack_from("!H", reply)[0] == number:
            break
    codes[reply[3] & 15] += 1
print(json.dumps(codes))
