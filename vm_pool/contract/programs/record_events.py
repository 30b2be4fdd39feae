"""Runs in a machine: writes every device event of the X server as a line of JSON to a file, until told to end.

Argument: the file. A file `end` next to it ends the program, which then leaves a file `ended`.
"""

import json
import os
import re
import sys
import threading
import time

from Xlib import XK, X, display
from Xlib.ext import record
from Xlib.protocol import rq

KINDS = {
    X.KeyPress: "key_down",
    X.KeyRelease: "key_up",
    X.ButtonPress: "press",
    X.ButtonRelease: "release",
    X.MotionNotify: "motion",
}
NAMES = {}
"""Of several names of a symbol, such as F12 and L2 or Prior and Page_Up, the shortest one that is no L2."""
for name in sorted(vars(XK), key=len):
    if name.startswith("XK_") and not re.fullmatch(r"[LR][0-9]+", name[3:]):
        NAMES.setdefault(getattr(XK, name), name[3:])


def main(path):
    asking, recording = display.Display(), display.Display()
    folder = os.path.dirname(path)
    output = open(path + ".new", "w", buffering=1)
    everything = {
        "core_requests": (0, 0),
        "core_replies": (0, 0),
        "ext_requests": (0, 0, 0, 0),
        "ext_replies": (0, 0, 0, 0),
        "delivered_events": (0, 0),
        "device_events": (X.KeyPress, X.MotionNotify),
        "errors": (0, 0),
        "client_started": False,
        "client_died": False,
    }
    context = recording.record_create_context(0, [record.AllClients], [everything])

    def name_of(keycode):
        symbol = asking.keycode_to_keysym(keycode, 0)
        return NAMES.get(symbol, str(symbol))

    def take(reply):
        if reply.category == record.StartOfData:
            output.write("watching\n")
            os.rename(path + ".new", path)
        if reply.category != record.FromServer:
            return
        data = reply.data
        while data:
            event, data = rq.EventField(None).parse_binary_value(data, recording.display, None, None)
            what = KINDS.get(event.type)
            if what in ("key_down", "key_up"):
                output.write(json.dumps([what, name_of(event.detail), 0, 0]) + "\n")
            elif what:
                detail = "" if what == "motion" else str(event.detail)
                output.write(json.dumps([what, detail, event.root_x, event.root_y]) + "\n")

    def end_when_told():
        while not os.path.exists(os.path.join(folder, "end")):
            time.sleep(0.02)
        with open(os.path.join(folder, "ended"), "w"):
            os._exit(0)

    threading.Thread(target=end_when_told, daemon=True).start()
    recording.record_enable_context(context, take)


main(sys.argv[1])
