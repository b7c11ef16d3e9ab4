# Logins to services, one for each line of standard input: "SERVICE ADDRESS USER PASSWORD", the latter two in hex
# ("-" for nothing). It prints "SERVICE ADDRESS OUTCOME" for each: welcome, denied, or what went wrong.
#
# USER is any bytes; what a protocol can't carry is left out: zero bytes, line breaks where a line ends a command,
# control bytes in headers. Over HTTP it is in the path, the referrer and the name of the program as well. SERVICE "port:N" only
# connects to that port: open, or timed out. An argument is the number of logins at a time.
import base64, hashlib, socket, ssl, sys, threading, urllib.parse
from concurrent.futures import ThreadPoolExecutor

PORTS = {"postfix": 25, "dovecot": 143, "nginx": 80, "apache": 8080, "vsftpd": 21, "cockpit": 9090, "rsyncd": 873}
AT_ONCE = int(sys.argv[1])
# Each login to Cockpit starts processes, and it turns away who comes while ten others are at it; each request
# to nginx makes two datagrams, for which it doesn't wait.
FEW = {"cockpit": threading.Semaphore(5), "nginx": threading.Semaphore(4)}
FREEBIND = 78


def connect(source, port, patience=20):
    wire = socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET)
    if ":" in source:
        # An address of a whole network that is routed here.
        wire.setsockopt(socket.IPPROTO_IPV6, FREEBIND, 1)
    wire.settimeout(patience)
    wire.bind((source, 0))
    wire.connect(("2001:db8:0:1::10" if ":" in source else "192.0.2.10", port))
    return wire


class Lines:
    def __init__(self, wire):
        self.wire, self.file = wire, wire.makefile("rb")

    def say(self, line):
        self.wire.sendall(line + b"\r\n")

    def hear(self, until=lambda line: True):
        while True:
            line = self.file.readline()
            if not line:
                raise EOFError("hung up")
            if until(line):
                return line


def final(line):
    return line[3:4] != b"-"


def plain(user, password):
    return base64.b64encode(b"\0" + user + b"\0" + password)


def smtp(wire, user, password):
    lines = Lines(wire)
    lines.hear(final)
    lines.say(b"EHLO attacker.example")
    lines.hear(final)
    lines.say(b"AUTH PLAIN " + plain(user, password))
    code = lines.hear(final)[:3]
    lines.say(b"QUIT")
    lines.hear(final)
    return {b"235": "welcome", b"535": "denied"}.get(code, code.decode())


def imap(wire, user, password):
    lines = Lines(wire)
    lines.hear()
    lines.say(b"a AUTHENTICATE PLAIN " + plain(user, password))
    answer = lines.hear(lambda line: line.startswith(b"a "))
    lines.say(b"b LOGOUT")
    lines.hear(lambda line: line.startswith(b"b ") or line.startswith(b"* BYE"))
    return {b"a OK": "welcome", b"a NO": "denied"}.get(answer[:4], answer.decode(errors="replace").strip())


def ftp(wire, user, password):
    lines = Lines(wire)
    lines.hear(final)
    lines.say(b"USER " + user.replace(b"\r", b"").replace(b"\n", b""))
    lines.hear(final)
    lines.say(b"PASS " + password)
    code = lines.hear(final)[:3]
    return {b"230": "welcome", b"530": "denied"}.get(code, code.decode())


def rsync(wire, user, password):
    lines = Lines(wire)
    lines.hear()
    # Protocol 31 has no list of digests; a name ends at the first blank.
    wire.sendall(b"@RSYNCD: 31.0\nprivate\n")
    challenge = lines.hear(lambda line: b" AUTHREQD " in line).split()[-1]
    word = base64.b64encode(hashlib.md5(password + challenge).digest()).rstrip(b"=")
    wire.sendall(b"".join(user.split()) + b" " + word + b"\n")
    answer = lines.hear(lambda line: line.startswith(b"@"))
    known = answer.startswith((b"@RSYNCD: OK", b"@ERROR: auth failed"))
    return ("welcome" if b"OK" in answer else "denied") if known else answer.decode(errors="replace").strip()


def web(path, hostile):
    def login(wire, user, password):
        word = base64.b64encode(user + b":" + password)
        line = bytes(byte for byte in user[:400] if byte >= 32 and byte != 127)
        there = path + (("?" + urllib.parse.quote(user[:400])).encode() if hostile else b"")
        request = [b"GET " + there + b" HTTP/1.1", b"Host: server.example", b"Authorization: Basic " + word,
                   b"Connection: close"]
        if hostile:
            request += [b"Referer: " + line, b"User-Agent: " + line]
        wire.sendall(b"\r\n".join(request) + b"\r\n\r\n")
        answer = b""
        while b"\r\n" not in answer:
            more = wire.recv(4096)
            if not more:
                raise EOFError("hung up")
            answer += more
        code = answer.split()[1]
        while wire.recv(65536):
            pass
        return {b"200": "welcome", b"401": "denied"}.get(code, code.decode())
    return login


def encrypted(login):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return lambda wire, user, password: login(context.wrap_socket(wire), user, password)


LOGINS = {
    "postfix": smtp, "dovecot": imap, "vsftpd": ftp, "nginx": web(b"/private/", True), "apache": web(b"/private/", True),
    "cockpit": encrypted(web(b"/cockpit/login", False)), "rsyncd": rsync,
}


def attempt(line):
    service, source, user, password = line.split()
    user, password = (bytes.fromhex(text.replace("-", "")).replace(b"\0", b"") for text in (user, password))
    port = PORTS.get(service) or int(service.split(":")[1])
    if service not in PORTS:
        try:
            connect(source, port, 2).close()
            return f"{service} {source} open"
        except TimeoutError:
            return f"{service} {source} timed out"
    with FEW.get(service) or threading.Semaphore():
        try:
            with connect(source, port) as wire:
                return f"{service} {source} {LOGINS[service](wire, user, password)}"
        except (OSError, EOFError) as error:
            return f"{service} {source} {error!r}"


with ThreadPoolExecutor(AT_ONCE) as pool:
    for outcome in pool.map(attempt, sys.stdin):
        print(outcome, flush=True)
