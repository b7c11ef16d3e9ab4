"""Stops one thread of a process, as a deadlock would, until the process is killed: wedge.py PID COMM"""
import ctypes, os, sys

SEIZE, INTERRUPT, ALL_CHILDREN = 0x4206, 0x4207, 0x40000000
pid, comm = sys.argv[1:]
threads = [int(tid) for tid in os.listdir(f"/proc/{pid}/task")]
[thread] = [tid for tid in threads if open(f"/proc/{pid}/task/{tid}/comm").read() == comm + "\n"]
libc = ctypes.CDLL(None, use_errno=True)
for request in (SEIZE, INTERRUPT):
    if libc.ptrace(ctypes.c_long(request), ctypes.c_long(thread), None, None) != 0:
        sys.exit(os.strerror(ctypes.get_errno()))
while True:
    _, status = os.waitpid(thread, ALL_CHILDREN)
    if not os.WIFSTOPPED(status):
        break
    print("stopped", comm, flush=True)
