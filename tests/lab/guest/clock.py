"""Stands in for systemd-timedated: a machine of the lab can't set the kernel's clock, which is the host's.

The clock is not synchronized until somebody turns NTP on, as `timedatectl set-ntp true` does.
"""
import dbus
import dbus.service
from dbus.mainloop.glib import DBusGMainLoop
from gi.repository import GLib

NAME = "org.freedesktop.timedate1"


class Clock(dbus.service.Object):
    synchronized = False

    @dbus.service.method(dbus.PROPERTIES_IFACE, in_signature="ss", out_signature="v")
    def Get(self, interface, name):
        return {"NTP": self.synchronized, "NTPSynchronized": self.synchronized, "CanNTP": True}[name]

    @dbus.service.method(NAME, in_signature="bb")
    def SetNTP(self, use, interactive):
        self.synchronized = bool(use)


DBusGMainLoop(set_as_default=True)
bus = dbus.SystemBus()
name = dbus.service.BusName(NAME, bus, do_not_queue=True)
clock = Clock(bus, "/org/freedesktop/timedate1")
GLib.MainLoop().run()
