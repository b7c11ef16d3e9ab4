"""Types words and a Tab into a shell at a terminal, and waits for what it makes of them:
tab.py SETUP WORDS WANTED SHELL..."""
import os, pty, re, select, sys, time

setup, words, wanted, shell = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]
child, terminal = pty.fork()
if child == 0:
    os.execvp(shell[0], shell)
said = ""


def until(text):
    global said
    deadline = time.monotonic() + 20
    while text not in said:
        if time.monotonic() > deadline or not select.select([terminal], [], [], 1)[0]:
            if time.monotonic() > deadline:
                sys.exit(f"waited in vain for {text!r}: {said!r}")
            continue
        # Without what moves the cursor: zsh draws what it has completed in pieces.
        said = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", said + os.read(terminal, 4096).decode(errors="replace"))


os.write(terminal, f"{setup}; echo rea''dy\n".encode())
until("ready")
said = ""
os.write(terminal, f"{words}\t".encode())
until(wanted)
os.kill(child, 9)
