"""A machine of a fleet in the wrong hands: it has a certificate, and says over NATS whatever it likes.

usage: poison.py BROKER MACHINE OTHER
Prints what the broker refuses.
"""
import json, socket, ssl, sys, time

broker, me, other = sys.argv[1:]
context = ssl.create_default_context(cafile="/etc/wardend/fleet/ca.pem")
context.load_cert_chain("/etc/wardend/fleet/certificate.pem", "/etc/wardend/fleet/key.pem")
plain = socket.create_connection((broker, 4222), 10)
plain.recv(65536)
tls = context.wrap_socket(plain, server_hostname=broker)


def say(text):
    tls.sendall(text if isinstance(text, bytes) else text.encode())


def publish(subject, body):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    say(b"PUB %s %d\r\n%s\r\n" % (subject.encode(), len(body), body))


say('CONNECT {"verbose":false,"pedantic":false,"tls_required":true,"lang":"python","version":"0"}\r\nPING\r\n')
now = int(time.time())
epoch = 2**62
news = lambda number, add, **more: {"v": 1, "epoch": epoch, "n": number, "now": now, "add": add, "sum": "0" * 16, **more}
# In another's name, and on subjects that steer the broker.
publish(f"wardend.1.new.{other}", news(1, [["198.51.100.77", now + 9999, "sshd", 1]]))
publish(f"wardend.1.doc.{other}", news(1, []))
publish("$JS.API.STREAM.PURGE.WARDEND", b"")
publish("$JS.API.STREAM.DELETE.WARDEND", b"")
publish("$JS.API.STREAM.UPDATE.WARDEND", b"{}")
publish("$JS.API.CONSUMER.CREATE.WARDEND", b"{}")
say("SUB $JS.API.> 7\r\n")
# What no policy allows: everybody, networks, the broker, an end that never comes.
for source in ["0.0.0.0/0", "::/0", "0.0.0.0", "128.0.0.0/1", "198.51.100.9", "192.0.2.1"]:
    publish(f"wardend.1.new.{me}", news(1, [[source, 2**63, "sshd", 1]]))
publish(f"wardend.1.new.{me}", b"[" * 60000)
publish(f"wardend.1.doc.{me}", b"{" * 65536)
publish(f"wardend.1.doc.{me}", b"x" * 70000)
# A million sources, in numbers that run forwards and backwards, from a hundred starts.
for number in range(4000):
    add = [[f"{11 + number % 80}.{number % 250}.{at}.7", now + 9999, "sshd", 1] for at in range(80)]
    body = news(number if number % 3 else -number % 2**64, add)
    body["epoch"] = epoch + number % 100
    publish(f"wardend.1.new.{me}", body)
say("PING\r\n")
tls.settimeout(3)
heard = b""
try:
    while heard.count(b"PONG") < 2:
        part = tls.recv(65536)
        if not part:
            break
        heard += part
except TimeoutError:
    pass
print("\n".join(line for line in heard.decode(errors="replace").splitlines() if line.startswith("-ERR")))
