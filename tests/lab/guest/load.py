"""An attack as sshd would log it, at so many records a second: load.py RATE SECONDS FIRST.

It runs as a unit that the filter takes for sshd's, as root, and writes to /dev/log, so that its
records are genuine but for the connections behind them. Each attempt is two records: a failed
password, and the end of its connection. Once a second a new source makes five attempts and is to
be banned; all others stay below that. FIRST is the number of the first source to be banned.
"""
import os
import socket
import sys
import time

rate, seconds, first = map(int, sys.argv[1:])
log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
log.connect("/dev/log")


def write(source, message):
    text = message.format(user="root", source=source)
    log.send(f"<38>Jan  1 00:00:00 sshd[{os.getpid()}]: {text}".encode())


def attempts():
    """The lines of a second: those of the source to be banned evenly among all others."""
    for second in range(seconds):
        number = first + second
        victim = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        for line in range(rate):
            attempt, last = divmod(line, 2)
            guilty = attempt * 10 // rate != (attempt - 1) * 10 // rate
            other = attempts.others // 8
            attempts.others += not guilty
            source = victim if guilty else f"11.{other >> 16 & 255}.{other >> 8 & 255}.{other & 255}"
            yield source, (
                "Connection closed by authenticating user {user} {source} port 4242 [preauth]"
                if last
                else "Failed password for {user} from {source} port 4242 ssh2"
            )


attempts.others = first << 12
begin = time.monotonic()
for number, (source, message) in enumerate(attempts()):
    delay = begin + number / rate - time.monotonic()
    if delay > 0:
        time.sleep(delay)
    write(source, message)
