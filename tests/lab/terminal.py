"""Runs a command on a terminal of its own, with polkit's agent beside it, and types a password when
one is asked for: terminal.py PASSWORD COMMAND..."""
import os, pty, shlex, sys

password, command = sys.argv[1], shlex.join(sys.argv[2:])
child, terminal = pty.fork()
if child == 0:
    # The agent speaks for this very process, which becomes the command.
    os.execlp("sh", "sh", "-c", f"pkttyagent --process $$ & sleep 2; exec {command}")
said, typed = "", False
while True:
    try:
        part = os.read(terminal, 4096).decode(errors="replace")
    except OSError:
        break
    said += part
    if "Password:" in said and not typed:
        os.write(terminal, password.encode() + b"\n")
        typed = True
print(said)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
