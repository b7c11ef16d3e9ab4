"""Calls wardend as a page in Cockpit does: through cockpit-bridge, with JavaScript's numbers.

Prints one line for each call: what went in and what came out, as a script in the browser has it.
"""
import json
import subprocess

bridge = subprocess.Popen(["cockpit-bridge"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def send(channel, message):
    # Every number of JavaScript is a double, and whole ones are written without a fraction.
    payload = (channel + "\n" + json.dumps(message)).encode()
    bridge.stdin.write(b"%d\n" % len(payload) + payload)
    bridge.stdin.flush()


def receive(wanted):
    while True:
        length = int(bridge.stdout.readline())
        channel, _, payload = bridge.stdout.read(length).decode().partition("\n")
        # JSON.parse makes a double of every number.
        message = json.loads(payload, parse_int=float)
        if channel == "" and message["command"] in ("close", "problem"):
            raise SystemExit(f"the channel is closed: {message}")
        if wanted(channel, message):
            return message


def call(member, signature, *arguments, path="/org/wardend1", interface="org.wardend1.Manager"):
    send("desk", {"call": [path, interface, member, list(arguments)], "type": signature, "id": member})
    answer = receive(lambda channel, message: channel == "desk" and message.get("id") == member)
    return answer["reply"][0] if "reply" in answer else {"error": answer["error"]}


def show(what, value):
    print(f"{what}: {json.dumps(value)}")


def forever(until):
    """As org.wardend1(5) says: the bridge of Debian 12 has -1 for it, that of Debian 13 a double."""
    return until < 0 or until >= 2.0**63


receive(lambda channel, message: channel == "" and message["command"] == "init")
send("", {"command": "init", "version": 1, "host": "localhost"})
send("", {"command": "open", "channel": "desk", "payload": "dbus-json3", "bus": "system", "name": "org.wardend1"})

text = lambda value: {"t": "s", "v": value}
source, until, ban = call("Ban", "ssa{sv}", "192.0.2.66", "sshd", {"For": text("infinity")})
show("Ban", [source, forever(until), forever(ban["UntilUSec"]["v"])])
hour = call("Ban", "ssa{sv}", "192.0.2.67", "sshd", {"ForUSec": {"t": "t", "v": 3600000000}})
show("an hour", [hour[0], forever(hour[1]), (hour[1] - hour[2]["SinceUSec"]["v"]) / 1e6])
many = [{"Address": text("192.0.2.68")}, {"Address": text("192.0.2.69"), "For": text("1h")}]
answers = call("BanMany", "aa{sv}a{sv}", many, {"Jail": text("sshd"), "For": text("forever")})[0]
show("BanMany", [[row["Source"]["v"], row["Result"]["v"], forever(row["UntilUSec"]["v"])] for row in answers])
page, total = call("ListBans", "a{sv}uu", {"Match": text("192.0.2.64/29"), "Order": text("until")}, 0, 10)[:2]
show("ListBans", [[row[1], forever(row[3]), row[-1]["Permanent"]["v"]] for row in page] + [total])
ignored = call("Ignore", "asa{sv}", ["192.0.2.200"], {"For": text("infinity")})[0]
show("Ignore", [[row["Source"]["v"], forever(row["UntilUSec"]["v"]), row["Permanent"]["v"]] for row in ignored])
show("History", len(call("History", "ttt", 0, 0, 3600000000)[0]) > 0)
# The number itself, as JavaScript writes it, is what the bridges refuse: hence the word.
show("2⁶⁴−1", "error" in call("Ban", "ssa{sv}", "192.0.2.70", "sshd", {"ForUSec": {"t": "t", "v": 18446744073709552000}}))
bridge.stdin.close()
