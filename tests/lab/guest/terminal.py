"""Runs a command on a terminal of its own, and types a password whenever one is asked for:
terminal.py PASSWORD COMMAND...

It ends with the command: what that has left behind may hold the terminal open."""
import os, pty, select, sys, termios, time

password, command = sys.argv[1], sys.argv[2:]
child, terminal = pty.fork()
if child == 0:
    os.execvp(command[0], command)
said, typed, status = "", 0, None
while True:
    if not select.select([terminal], [], [], 0.1)[0]:
        if status is not None:
            break
        ended, how = os.waitpid(child, os.WNOHANG)
        status = how if ended else None
        continue
    try:
        part = os.read(terminal, 4096).decode(errors="replace")
    except OSError:
        break
    if not part:
        break
    said += part
    if said.count("Password:") > typed:
        typed += 1
        # What is typed before the agent has turned the echo off is thrown away.
        while termios.tcgetattr(terminal)[3] & termios.ECHO:
            time.sleep(0.01)
        os.write(terminal, password.encode() + b"\n")
print(said)
if status is None:
    status = os.waitpid(child, 0)[1]
sys.exit(os.waitstatus_to_exitcode(status))
