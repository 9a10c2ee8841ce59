"""Makes a process deaf on its netfilter netlink sockets (the kernel's answers are dropped by a socket filter), or lets it hear again.

Usage: netlink.py PID deaf|hearing. Needs CAP_SYS_PTRACE over the process. Prints how many sockets were changed.
"""
import ctypes
import os
import socket
import struct
import sys

SYS_PIDFD_GETFD = 438  # the same on every architecture
AF_NETLINK, NETLINK_NETFILTER = 16, 12
SO_ATTACH_FILTER, SO_DETACH_FILTER, SO_PROTOCOL, SO_DOMAIN = 26, 27, 38, 39

pid, mode = int(sys.argv[1]), sys.argv[2]
libc = ctypes.CDLL(None, use_errno=True)
drop_all = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # BPF_RET, 0 bytes
program = struct.pack("HxxxxxxP", 1, ctypes.addressof(drop_all))
process, changed = os.pidfd_open(pid), 0
for entry in os.listdir("/proc/%d/fd" % pid):
    fd = libc.syscall(SYS_PIDFD_GETFD, process, int(entry), 0)
    if fd < 0:
        sys.exit("pidfd_getfd: %s" % os.strerror(ctypes.get_errno()))
    try:
        with socket.socket(fileno=fd) as one:
            if (one.getsockopt(1, SO_DOMAIN), one.getsockopt(1, SO_PROTOCOL)) != (AF_NETLINK, NETLINK_NETFILTER):
                continue
            if mode == "deaf":
                one.setsockopt(1, SO_ATTACH_FILTER, program)
            else:
                one.setsockopt(1, SO_DETACH_FILTER, 0)
            changed += 1
    except OSError:
        pass  # a file or a pipe
print(changed)
