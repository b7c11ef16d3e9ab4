"""As many calls as a thousand clients would make, from connections of root and of a user who may
change nothing, while sshd tells of attackers: usage: flood.py CLIENTS ATTACKERS USER.

Prints one JSON object: what was asked and answered, and how long the daemon let a caller wait who
asked in the midst of it.
"""
import collections, json, os, pwd, socket, sys, time
import dbus, dbus.bus, dbus.mainloop.glib
from gi.repository import GLib

clients, attackers, user = int(sys.argv[1]), int(sys.argv[2]), pwd.getpwnam(sys.argv[3])
BUS = "unix:path=/run/dbus/system_bus_socket"
# Of root, and as many of the user: the bus allows 256 each, and wardend 32 calls that wait on each.
CONNECTIONS = max(40, min(clients // 8, 200))
UNIT = "/org/freedesktop/systemd1/unit/wardend_2eservice"
JAIL = "org.wardend1.Jail"
NAME, PATH, MANAGER = "org.wardend1", "/org/wardend1", "org.wardend1.Manager"


def attack():
    """What sshd writes, a process for each connection as sshd has it."""
    for number in range(attackers):
        if os.fork() == 0:
            log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            log.connect("/dev/log")
            address = f"198.51.{100 + number // 250}.{1 + number % 250}"
            for line in (f"Failed password for root from {address} port 4242 ssh2",
                         f"Connection closed by authenticating user root {address} port 4242 [preauth]"):
                # As syslog(3) does, or journald calls the record altered.
                log.send(f"<38>{time.strftime('%b %e %T')} sshd[{os.getpid()}]: {line}".encode())
            # Until journald has seen whose it is.
            time.sleep(2)
            os._exit(0)
        time.sleep(0.002)
    for _ in range(attackers):
        os.wait()


child = os.fork()
if child == 0:
    attack()
    os._exit(0)

dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
root = [dbus.bus.BusConnection(BUS) for _ in range(CONNECTIONS)]
os.setresuid(-1, user.pw_uid, 0)
poor = [dbus.bus.BusConnection(BUS) for _ in range(CONNECTIONS)]
os.setresuid(-1, 0, 0)
probe = dbus.bus.BusConnection(BUS)
loop, answers, waits, beats, orders = GLib.MainLoop(), collections.Counter(), [], [], []
signals, since = collections.Counter(), time.monotonic()
left = 0


def done(kind):
    global left
    answers[kind] += 1
    left -= 1
    if left == 0:
        loop.quit()


def call(connection, method, signature, *arguments, interface=MANAGER, path=PATH):
    global left
    left += 1
    connection.call_async(
        NAME, path, interface, method, signature, arguments,
        lambda *_: done(f"{method} answered"),
        lambda error: done(f"{method} {error.get_dbus_name()}"), timeout=240)


def client(number):
    """Each looks around; one in ten of root's bans somebody, one in
    fifty reloads, and each of the user's tries to."""
    mine, theirs = root[number % CONNECTIONS], poor[number % CONNECTIONS]
    for connection in (mine, theirs):
        call(connection, "ListBans", "a{sv}uu", {}, dbus.UInt32(0), dbus.UInt32(0))
        call(connection, "ListJails", "")
        call(connection, "Explain", "s", "198.51.100.7")
        call(connection, "GetAll", "s", MANAGER, interface="org.freedesktop.DBus.Properties")
    if number % 10 == 0:
        call(mine, "Ban", "ssa{sv}", f"192.0.{3 + number // 2500}.{number // 10 % 250 + 1}", "sshd", {"For": "1h", "Reason": "flood"})
    if number % 50 == 0:
        call(mine, "Reload", "")
    call(theirs, "ListBans", "a{sv}uu", {}, dbus.UInt32(0), dbus.UInt32(0), interface=JAIL, path=f"{PATH}/jail/sshd")
    call(theirs, "Ban", "ssa{sv}", "192.0.2.250", "sshd", {})


def look():
    """Somebody asks, waits for the answer, and asks again."""
    asked = time.monotonic()

    def answered(*_):
        waits.append(time.monotonic() - asked)
        GLib.timeout_add(20, look)

    probe.call_async(NAME, PATH, MANAGER, "ListJails", "", (), answered, answered, timeout=240)
    return False


def order():
    """Root bans somebody and lifts the ban, again and again."""
    asked = time.monotonic()

    def done(*_):
        orders.append(time.monotonic() - asked)

    def undone(*_):
        done()
        GLib.timeout_add(200, order)

    def ban(*_):
        probe.call_async(NAME, PATH, MANAGER, "Unban", "ss", ("203.0.113.250", "sshd"), undone, undone, timeout=240)

    probe.call_async(NAME, PATH, MANAGER, "Ban", "ssts", ("203.0.113.250", "sshd", dbus.UInt64(0), ""), ban, ban, timeout=240)
    return False


def watch():
    """How old the last word to systemd's watchdog is."""
    probe.call_async(
        "org.freedesktop.systemd1", UNIT, "org.freedesktop.DBus.Properties", "Get", "ss",
        ("org.freedesktop.systemd1.Service", "WatchdogTimestampMonotonic"),
        lambda stamp: beats.append(time.monotonic() - stamp / 1e6), lambda error: sys.exit(str(error)))
    return True


def signal(*_, member):
    signals[member] += 1


def begin():
    global left
    left += 1  # as long as clients come
    coming = iter(range(clients))

    def some():
        for number in (number for _, number in zip(range(20), coming)):
            client(number)
            last = number
        if left > clients * 12 or last + 1 == clients:
            done("all asked")
            return False
        return True

    GLib.timeout_add(20, some)
    return False


for interface in (MANAGER, "org.freedesktop.DBus.Properties"):
    probe.add_signal_receiver(signal, dbus_interface=interface, path=PATH, member_keyword="member")
look()
order()
GLib.timeout_add(50, watch)
begin()
loop.run()
os.waitpid(child, 0)
waits.sort()
print(json.dumps({
    "seconds": time.monotonic() - since, "answers": answers, "signals": signals,
    "oldest_beat": max(beats), "longest_wait": waits[-1], "median_wait": waits[len(waits) // 2], "looks": len(waits),
    "longest_order": max(orders, default=0), "orders": len(orders),
}))
