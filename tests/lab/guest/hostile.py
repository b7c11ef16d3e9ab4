# One wrong password for each line of standard input: "ADDRESS HEX-OF-NAME METHOD END". An argument
# is the port.
# OpenSSH's own client refuses to send such names; this one sends any bytes.
#
# METHOD is password or keyboard-interactive. END is what the client does afterwards: close the
# connection, reset it, or say good-bye, half a second later: journald must have looked up whose
# process wrote before sshd's process goes, or nothing vouches for what it wrote. It prints for each
# line whether sshd judged the password.
import logging, socket, struct, sys, time
from concurrent.futures import ThreadPoolExecutor

import paramiko

logging.getLogger("paramiko").setLevel(logging.CRITICAL)

PORT = int(sys.argv[1]) if len(sys.argv) > 1 else 22


def guess(line):
    source, name, method, end = line.split()
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    target = "2001:db8:0:1::10" if ":" in source else "192.0.2.10"
    for _ in range(5):
        try:
            wire = socket.socket(family)
            wire.settimeout(20)
            wire.bind((source, 0))
            wire.connect((target, PORT))
            transport = paramiko.Transport(wire)
            transport.banner_timeout = transport.auth_timeout = 30
            transport.start_client(timeout=30)
        except Exception as error:  # full (MaxStartups): come again
            last = error
            continue
        outcome = "not judged"
        try:
            name = bytes.fromhex(name)
            if method == "password":
                transport.auth_password(name, "wrong", fallback=False)
            else:
                transport.auth_interactive(name, lambda title, text, prompts: ["wrong"] * len(prompts))
        except paramiko.AuthenticationException:
            outcome = "judged"
        except Exception as error:
            outcome = f"not judged: {error!r}"
        time.sleep(0.5)
        if end == "reset":
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            wire.close()
        elif end == "bye":
            transport.close()
        else:
            wire.shutdown(socket.SHUT_RDWR)
        transport.close()
        return f"{source} {outcome}"
    return f"{source} no connection: {last!r}"


with ThreadPoolExecutor(9) as pool:
    for outcome in pool.map(guess, sys.stdin):
        print(outcome, flush=True)
