"""fail.py FIRST COUNT PER_SECOND: failures of so many addresses, one each, in sshd's words, with the line
that ends the connection. Prints the time before the first, in microseconds.
"""
import os, socket, sys, time
first, count, pace = map(int, sys.argv[1:])
with open("/sys/fs/cgroup/system.slice/ssh.service/cgroup.procs", "w") as group:
    group.write(str(os.getpid()))
log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
log.connect("/dev/log")
begin = time.time()
print(int(begin * 1e6), flush=True)
for number in range(first, first + count):
    if pace:
        time.sleep(max(0, begin + (number - first) / pace - time.time()))
    address = "198.%d.%d.%d" % (18 + (number + 1 >> 16), number + 1 >> 8 & 255, number + 1 & 255)
    for line in ["Failed password for root from %s port 4242 ssh2",
                 "Connection closed by authenticating user root %s port 4242 [preauth]"]:
        head = "<38>%s sshd[%d]: " % (time.strftime("%b %e %H:%M:%S"), os.getpid())
        log.send((head + line % address).encode())
time.sleep(1)
