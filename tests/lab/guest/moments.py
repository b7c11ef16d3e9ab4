# Logins that are timed to the second, one for each line of standard input:
# "ADDRESS USER METHOD PASSWORD DELAY TIMES".
# The password is sent DELAY seconds after connecting, TIMES times. Who gets in opens a shell, and leaves
# without a word. It prints for each line how it went.
import logging, socket, sys, time
from concurrent.futures import ThreadPoolExecutor

import paramiko

logging.getLogger("paramiko").setLevel(logging.CRITICAL)


def login(line):
    source, user, method, password, delay, times = line.split()
    wire = socket.socket()
    wire.settimeout(60)
    wire.bind((source, 0))
    wire.connect(("192.0.2.10", 22))
    begun = time.monotonic()
    transport = paramiko.Transport(wire)
    transport.banner_timeout = transport.auth_timeout = 60
    outcome = "denied"
    try:
        transport.start_client(timeout=60)
        time.sleep(max(0, begun + float(delay) - time.monotonic()))
        for _ in range(int(times)):
            try:
                if method == "password":
                    transport.auth_password(user, password, fallback=False)
                else:
                    transport.auth_interactive(user, lambda title, text, prompts: [password] * len(prompts))
                transport.open_session().exec_command("true")
                outcome = "in"
                break
            except paramiko.AuthenticationException as error:
                if not transport.is_active():
                    raise EOFError from error
    except (EOFError, OSError, paramiko.SSHException):
        outcome = "cut off"
    try:
        wire.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    transport.close()
    return f"{source} {outcome}"


lines = sys.stdin.readlines()
with ThreadPoolExecutor(len(lines)) as pool:
    for outcome in pool.map(login, lines):
        print(outcome, flush=True)
