"""Stops one thread of a process for a time, as nothing else can: the others go on.

Usage: thread.py PID NAME SECONDS. Needs CAP_SYS_PTRACE over the process. Prints `stopped` once it stands.
"""
import ctypes
import os
import sys
import time

PTRACE_SEIZE, PTRACE_INTERRUPT = 0x4206, 0x4207
WALL = 0x40000000

pid, name, seconds = int(sys.argv[1]), sys.argv[2], float(sys.argv[3])
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
for thread in os.listdir("/proc/%d/task" % pid):
    with open("/proc/%d/task/%s/comm" % (pid, thread)) as comm:
        if comm.read().strip() != name:
            continue
    for request in (PTRACE_SEIZE, PTRACE_INTERRUPT):
        if libc.ptrace(request, int(thread), None, None) != 0:
            sys.exit(os.strerror(ctypes.get_errno()))
    os.waitpid(int(thread), WALL)
    print("stopped", flush=True)
    # It goes on when this process ends.
    time.sleep(seconds)
    sys.exit(0)
sys.exit("no thread %s" % name)
