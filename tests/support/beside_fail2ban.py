"""Whom fail2ban bans over a recorded journal, one address a line: its own filter and counter, with its clock
set to the time of each record, because it ignores what is older than findtime.

    PYTHONPATH=.../dist-packages beside-fail2ban.py /etc/fail2ban JAIL RECORDING.jsonl

docs/from-fail2ban.md compares this with `wardenctl replay` and the imported configuration.
"""
import json
import logging
import sys

from fail2ban.client.filterreader import FilterReader
from fail2ban.client.jailsreader import JailsReader
from fail2ban.server.filter import Filter
from fail2ban.server.mytime import MyTime

logging.disable(logging.CRITICAL)
directory, name, recording = sys.argv[1:]


class Jail:
    """What a filter asks of its jail."""

    database = None
    banned = {}
    name = name

    def putFailTicket(self, ticket):
        self.banned.setdefault(str(ticket.getID()), ticket.getTime())

    def getMaxBanTime(self):
        return None

    def getBanTimeExtra(self, key=None):
        return None

    @property
    def actions(self):
        return self

    def getBanned(self, ids=None):
        return []


jails = JailsReader(basedir=directory, force_enable=True)
jails.read()
jails.getOptions(name)
stream = jails.convert(allow_no_files=True)
jail = Jail()
counter = Filter(jail, useDns="no")
counter.setMaxRetry(5)
for command in stream:
    words = list(command)
    if words[0] in ("set", "multi-set") and words[1] == name:
        key, values = words[2], words[3:]
        if key in ("addfailregex", "addignoreregex"):
            add = counter.addFailRegex if key == "addfailregex" else counter.addIgnoreRegex
            for value in values[0] if words[0] == "multi-set" else values:
                add(value)
        elif key == "prefregex":
            counter.prefRegex = values[0]
        elif key == "maxretry":
            counter.setMaxRetry(int(values[0]))
        elif key == "findtime":
            counter.setFindTime(MyTime.str2seconds(values[0]))
        elif key == "maxlines":
            counter.setMaxLines(int(values[0]))
counter.ignoreself = False


def is_read(record):
    """Debian's journalmatch of sshd; whatever the program itself wrote, of others."""
    if name == "sshd":
        return record.get("_SYSTEMD_UNIT") == "ssh.service" or record.get("_COMM") == "sshd"
    return record.get("SYSLOG_IDENTIFIER") == name


def text(value):
    return bytes(value).decode("utf-8", "replace") if isinstance(value, list) else value or ""


for line in open(recording, encoding="utf-8"):
    record = json.loads(line)
    if not is_read(record):
        continue
    now = int(record["__REALTIME_TIMESTAMP"]) / 1e6
    MyTime.setTime(now)
    program = record.get("SYSLOG_IDENTIFIER", "")
    pid = record.get("SYSLOG_PID", record.get("_PID", ""))
    counter.processLineAndAdd(("", "", f"host {program}[{pid}]: {text(record.get('MESSAGE'))}"), now)
    counter.performBan()
for address in sorted(jail.banned):
    print(address)
