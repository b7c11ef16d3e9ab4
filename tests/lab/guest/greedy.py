"""A local user who asks and never reads: usage: greedy.py USER CONNECTIONS CALLS KIND SECONDS.

Speaks the protocol by hand, because every library reads. Prints one JSON object: how many calls the
bus took within so many seconds; then stays, with all that it did not read.
"""
import json, os, pwd, select, signal, socket, struct, sys, time

user, connections, calls, kind, seconds = pwd.getpwnam(sys.argv[1]), *map(int, sys.argv[2:4]), sys.argv[4], float(sys.argv[5])
ALL = object()  # No options, and no limit: a{sv}uu
NESTED = object()  # An option with as many bytes as a call may have, of which each would be a value.
LIST = object()  # A list of as many entries as a call may have.
KINDS = {  # path, interface, member, whether an answer is wanted, arguments
    "ListBans": ("/org/wardend1", "org.wardend1.Manager", "ListBans", True, ALL),
    "Everything": ("/org/wardend1", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", True, ()),
    "GetAll": ("/org/wardend1/jail/sshd", "org.freedesktop.DBus.Properties", "GetAll", True, ("org.wardend1.Jail",)),
    "ListIgnoreIP": ("/org/wardend1/jail/sshd", "org.wardend1.Jail", "ListIgnoreIP", True, ()),
    "Introspect": ("/org/wardend1", "org.freedesktop.DBus.Introspectable", "Introspect", True, ()),
    "SilentListBans": ("/org/wardend1", "org.wardend1.Manager", "ListBans", False, ALL),
    "Unban": ("/org/wardend1", "org.wardend1.Manager", "Unban", True, ("192.0.2.1", "sshd")),
    "SilentUnban": ("/org/wardend1", "org.wardend1.Manager", "Unban", False, ("192.0.2.1", "sshd")),
    "Nested": ("/org/wardend1", "org.wardend1.Manager", "ListBans", True, NESTED),
    "List": ("/org/wardend1", "org.wardend1.Manager", "BanMany", True, LIST),
    "SilentExplain": ("/org/wardend1", "org.wardend1.Manager", "Explain", False, ("192.0.2.1",)),
}


def string(text):
    return struct.pack("<I", len(text)) + text.encode() + b"\0"


def padded(data, to):
    return data + bytes(-len(data) % to)


def nested():
    data = bytes((16 << 20) - 64)
    entry = padded(string("Match") + b"\x02ay\0", 4) + struct.pack("<I", len(data)) + data
    return padded(struct.pack("<II", len(entry), 0) + entry, 4) + bytes(8), b"a{sv}uu"


def entries():
    entry = padded(string("Address") + b"\x01s\0", 4) + string("192.0.2.7")
    length = struct.pack("<I", len(entry))
    # Arrays stand at multiples of 4, and their entries at multiples of 8.
    others = (padded(length, 8) + padded(entry, 8)) * 99_999
    elements = padded(length + entry + bytes(2), 4) + others[:len(others) - len(padded(entry, 8)) + len(entry)]
    return padded(padded(struct.pack("<I", len(elements)) + elements, 4) + bytes(4), 8), b"aa{sv}a{sv}"


HEAVY = {NESTED: nested, LIST: entries}
made_once = {}


def message(serial, destination, path, interface, member, wants, arguments):
    fields = b""
    for code, kind, text in ((1, b"o", path), (2, b"s", interface), (3, b"s", member), (6, b"s", destination)):
        fields = padded(fields, 8) + bytes([code, 1]) + kind + b"\0" + string(text)
    body, signature = bytes(16), b"a{sv}uu"
    if arguments in HEAVY:
        if arguments not in made_once:
            made_once[arguments] = HEAVY[arguments]()
        body, signature = made_once[arguments]
    elif arguments is not ALL:
        body, signature = b"", b"s" * len(arguments)
        for argument in arguments:
            body = padded(body, 4) + string(argument)
    if body:
        fields = padded(fields, 8) + bytes([8, 1]) + b"g\0" + bytes([len(signature)]) + signature + b"\0"
    head = struct.pack("<cBBBIII", b"l", 1, 0 if wants else 1, 1, len(body), serial, len(fields)) + fields
    return padded(head, 8) + body


def connect():
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    line.connect("/run/dbus/system_bus_socket")
    line.sendall(b"\0AUTH EXTERNAL " + str(user.pw_uid).encode().hex().encode() + b"\r\n")
    assert line.recv(4096).startswith(b"OK")
    line.sendall(b"BEGIN\r\n" + message(1, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello", True, ()))
    line.recv(4096)
    line.setblocking(False)
    return line


os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
lines = [connect() for _ in range(connections)]
path, interface, member, wants, arguments = KINDS[kind]
made = [b"".join(message(2 + n, "org.wardend1", path, interface, member, wants, arguments) for n in range(calls))] * connections
size = len(made[0]) / calls
sent = [0] * connections
end = time.monotonic() + seconds
while time.monotonic() < end and min(sent) < len(made[0]):
    waiting = [n for n in range(connections) if sent[n] < len(made[n])]
    _, ready, _ = select.select([], [lines[n] for n in waiting], [], 0.1)
    for n in waiting:
        if lines[n] in ready:
            try:
                sent[n] += lines[n].send(memoryview(made[n])[sent[n]:sent[n] + 65536])
            except BlockingIOError:
                pass
            except OSError:
                sent[n] = len(made[n])
print(json.dumps({"taken": int(sum(sent) / size), "of": calls * connections}), flush=True)
signal.pause()
