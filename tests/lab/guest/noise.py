"""The noise of the internet as sshd would log it: noise.py RATE SECONDS FIRST [EVERY GAP].

It runs as a unit that the filter takes for sshd's, as root, and writes to /dev/log, as load.py does.
RATE attempts a second come for SECONDS, each from another source, and each is two records: a failed
password, and the end of its connection. With EVERY and GAP, a further source begins every EVERY
seconds a real brute force: five attempts, one each GAP seconds. FIRST is the number of the first of
those. Each of them ends within SECONDS.
"""
import os
import socket
import sys
import time

rate, seconds, first = float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
every, gap = (float(word) for word in (sys.argv[4:6] or ("0", "0")))
log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
log.connect("/dev/log")


def address(net, number):
    return f"{net}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


plan = [(number / rate, address(11, (first << 10) + number)) for number in range(int(rate * seconds))]
if every:
    begins = range(int((seconds - 4 * gap - 1) / every))
    # Not in step with the noise.
    plan += [(0.3 + n * every + k * gap, address(10, first + n)) for n in begins for k in range(5)]
begin = time.monotonic()
for due, source in sorted(plan):
    time.sleep(max(0, begin + due - time.monotonic()))
    for text in f"Failed password for root from {source} port 4242 ssh2", (
        f"Connection closed by authenticating user root {source} port 4242 [preauth]"
    ):
        log.send(f"<38>Jan  1 00:00:00 sshd[{os.getpid()}]: {text}".encode())
time.sleep(max(0, begin + seconds - time.monotonic()))
