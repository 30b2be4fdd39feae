"""Runs in a machine: a GTK window with a focused text field whose content is always in a file, until told to end.

Arguments: the file, the window's title, `moving` or `still`. A file `end` next to it ends the program, which then
leaves a file `ended`.
"""

import os
import sys

import gi

gi.require_version("Gtk", "3.0")
from gi.repository import Gdk, GLib, Gtk  # noqa: E402


def main(path, title, movement):
    folder = os.path.dirname(path)
    window = Gtk.Window(title=title)
    screen = Gdk.Screen.get_default()
    window.set_default_size(screen.get_width() * 3 // 4, screen.get_height() * 3 // 4)
    field = Gtk.TextView()
    box = Gtk.Box(orientation=Gtk.Orientation.VERTICAL)
    strip = Gtk.EventBox()
    strip.set_size_request(-1, 120)
    box.pack_start(field, True, True, 0)
    if movement == "moving":
        box.pack_start(strip, False, False, 0)
    window.add(box)
    changes = [0]

    def change_colour():
        # Never the same again within 10 s: who looks at even intervals must not see one colour only.
        changes[0] += 1
        shade = changes[0] * 37 % 101 / 101
        strip.override_background_color(Gtk.StateFlags.NORMAL, Gdk.RGBA(shade, 0.2, 0.2, 1.0))
        return True

    def keep(*_):
        buffer = field.get_buffer()
        text = buffer.get_text(buffer.get_start_iter(), buffer.get_end_iter(), True)
        with open(path + ".new", "w", encoding="utf-8", newline="") as file:
            file.write("ready\n" + text)
        os.rename(path + ".new", path)

    def ready_when_focused():
        if not window.is_active() or not field.is_focus():
            window.present()
            field.grab_focus()
            return True
        keep()
        return False

    def end_when_told():
        if os.path.exists(os.path.join(folder, "end")):
            window.destroy()
            Gdk.Display.get_default().sync()
            with open(os.path.join(folder, "ended"), "w"):
                Gtk.main_quit()
            return False
        return True

    field.get_buffer().connect("changed", keep)
    window.connect("destroy", Gtk.main_quit)
    window.show_all()
    window.present()
    GLib.timeout_add(20, ready_when_focused)
    GLib.timeout_add(20, end_when_told)
    GLib.timeout_add(100, change_colour)
    Gtk.main()


main(*sys.argv[1:4])
