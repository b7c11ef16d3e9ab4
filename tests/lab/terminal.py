"""Runs a command on a terminal of its own, and types a password whenever one is asked for:
terminal.py PASSWORD COMMAND..."""
import os, pty, sys, termios, time

password, command = sys.argv[1], sys.argv[2:]
child, terminal = pty.fork()
if child == 0:
    os.execvp(command[0], command)
said, typed = "", 0
while True:
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
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
