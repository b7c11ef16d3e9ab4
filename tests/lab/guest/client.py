"""Bans an address, hears of it, asks why, and lets it in again: 20 lines, from introspection alone."""
import sys
import dbus, dbus.mainloop.glib
from gi.repository import GLib

dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
wardend = dbus.SystemBus().get_object("org.wardend1", "/org/wardend1")
manager, loop = dbus.Interface(wardend, "org.wardend1.Manager"), GLib.MainLoop()

def heard(*facts, member):
    print(member, *facts[:-1])
    loop.quit()

manager.connect_to_signal("Banned", heard, member_keyword="member")
manager.connect_to_signal("Unbanned", heard, member_keyword="member")
GLib.timeout_add_seconds(20, sys.exit, "nothing was heard")
source, until, ban = manager.Ban(sys.argv[1], "sshd", {"For": "1h", "Reason": "by a program"})
loop.run()
print(*(f"{jail['State']}: {jail['Because']}" for jail in manager.Explain(source)))
manager.Unban(source, "")
loop.run()
