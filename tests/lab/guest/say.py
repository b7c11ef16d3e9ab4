"""say.py TAG TEXT SECONDS: writes a record, and lives on for as long: of a process that is gone already,
journald doesn't know the unit.
"""
import sys, syslog, time

syslog.openlog(sys.argv[1])
syslog.syslog(sys.argv[2])
time.sleep(float(sys.argv[3]))
