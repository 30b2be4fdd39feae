"""Runs in a machine: writes every raw input event of the X server as a line of JSON to a file, until told to end.

Argument: the file, which is opened for each line, so that others may empty it. A file `end` next to it ends the
program, which then leaves a file `ended`. A line is what, detail, x, y and the character that a key types.

Raw events of the XInput extension, because the server forgets some of the RECORD extension's device events when keys
come faster than the focused program reads them. What a key types is told from the keyboard map of that moment: requests
that change it are recorded in their order, and each takes effect where its MappingNotify stands among the events.
"""

import json
import os
import queue
import re
import struct
import sys
import threading
import time

from Xlib import XK, X, display
from Xlib.ext import ge, record, xinput

CHANGE_KEYBOARD_MAPPING = 100
"""Number of that request in the core protocol."""
REQUEST_S = 5
KINDS = {
    xinput.RawKeyPress: "key_down",
    xinput.RawKeyRelease: "key_up",
    xinput.RawButtonPress: "press",
    xinput.RawButtonRelease: "release",
    xinput.RawMotion: "motion",
}
MASK = sum(1 << kind for kind in KINDS)
LINES = {0xFF0D: "\n", 0xFF8D: "\n", 0xFF09: "\t"}
OTHERS = {"Control_L", "Control_R", "Alt_L", "Alt_R", "Super_L", "Super_R"}
SHIFTS = {"Shift_L", "Shift_R"}
NAMES = {}
"""Of several names of a symbol, such as F12 and L2 or Prior and Page_Up, the shortest one that is no L2."""
for name in sorted(vars(XK), key=len):
    if name.startswith("XK_") and not re.fullmatch(r"[LR][0-9]+", name[3:]):
        NAMES.setdefault(getattr(XK, name), name[3:])


def character_of(pair, shift, lock):
    """What a key types, given its symbols without and with Shift; empty: no character."""
    symbol = pair[1] if shift and pair[1] else pair[0]
    if symbol >= 0x01000000:
        character = chr(symbol - 0x01000000)
    elif 0x20 <= symbol <= 0x7E or 0xA0 <= symbol <= 0xFF:
        character = chr(symbol)
    else:
        return LINES.get(symbol, "")
    if not lock:
        return character
    return character.lower() if shift and pair[0] != pair[1] else character.upper()


class Keys:
    """The keyboard at one place of the log: its map and what is held."""

    def __init__(self, asking):
        first, last = asking.display.info.min_keycode, asking.display.info.max_keycode
        rows = asking.get_keyboard_mapping(first, last - first + 1)
        self.pairs = {code: tuple(row[:2]) for code, row in enumerate(rows, first)}
        self.all = last - first + 1
        self.held = set()
        self.lock = bool(asking.screen().root.query_pointer().mask & X.LockMask)
        self.requests = queue.Queue()

    def name(self, keycode):
        symbol = self.pairs[keycode][0]
        return NAMES.get(symbol, str(symbol))

    def down(self, keycode):
        """The character that is typed by that; empty: none."""
        name = self.name(keycode)
        self.held.add(name)
        self.lock ^= name == "Caps_Lock"
        if self.held & OTHERS:
            return ""
        return character_of(self.pairs[keycode], bool(self.held & SHIFTS), self.lock)

    def up(self, keycode):
        self.held.discard(self.name(keycode))

    def record(self, data):
        """Requests that give keys other symbols, in the byte order of this machine's clients."""
        while len(data) >= 8:
            _, count, words, keycode, width = struct.unpack("=BBHBB2x", data[:8])
            symbols = struct.unpack("=%dI" % (count * width), data[8 : 8 + 4 * count * width])
            rows = [symbols[number * width : (number + 1) * width] for number in range(count)]
            pairs = {keycode + number: (row[0], row[1] if width > 1 else row[0]) for number, row in enumerate(rows)}
            self.requests.put((keycode, pairs))
            data = data[4 * words :]

    def changed(self, event):
        """Take the request over that an event tells of; when the whole map is told of, another keyboard is used."""
        if event.request != X.MappingKeyboard or event.count >= self.all:
            return
        keycode = None
        while keycode != event.first_keycode:
            keycode, pairs = self.next_request()
            self.pairs.update(pairs)

    def next_request(self):
        try:
            return self.requests.get(timeout=REQUEST_S)
        except queue.Empty:
            raise SystemExit("a change of the keyboard map was told of that nobody asked for") from None


class Pointer:
    """Where the pointer is, in screen pixels."""

    def __init__(self, asking):
        place = asking.screen().root.query_pointer()
        self.place = [place.root_x, place.root_y]

    def moved(self, data):
        """Take the axes over that a raw motion names."""
        words = struct.unpack("=H", data[12:14])[0]
        mask, values = data[22 : 22 + 4 * words], data[22 + 4 * words :]
        given = [axis for axis in range(8 * len(mask)) if mask[axis // 8] >> axis % 8 & 1]
        for number, axis in enumerate(given):
            if axis < 2:
                self.place[axis] = struct.unpack("=i", values[8 * number : 8 * number + 4])[0]


def line_of(event, keys, pointer):
    """What is written of a raw event."""
    what, data = KINDS[event.evtype], bytes(event.data)
    detail = struct.unpack("=I", data[6:10])[0]
    if what == "key_down":
        return [what, keys.name(detail), 0, 0, keys.down(detail)]
    if what == "key_up":
        keys.up(detail)
        return [what, keys.name(detail), 0, 0, ""]
    if what == "motion":
        pointer.moved(data)
    return [what, "" if what == "motion" else str(detail), *pointer.place, ""]


def record_requests(keys):
    """Hear every change of the keyboard map in its order, from all clients; returns when that has begun."""
    heard, begun = display.Display(), threading.Event()
    nothing = dict.fromkeys(("core_requests", "core_replies", "delivered_events", "device_events", "errors"), (0, 0))
    changes = {
        **nothing,
        "core_requests": (CHANGE_KEYBOARD_MAPPING, CHANGE_KEYBOARD_MAPPING),
        "ext_requests": (0, 0, 0, 0),
        "ext_replies": (0, 0, 0, 0),
        "client_started": False,
        "client_died": False,
    }
    context = heard.record_create_context(0, [record.AllClients], [changes])

    def take(reply):
        if reply.category == record.FromClient:
            keys.record(reply.data)
        elif reply.category == record.StartOfData:
            begun.set()

    threading.Thread(target=heard.record_enable_context, args=(context, take), daemon=True).start()
    begun.wait(REQUEST_S)


def end_when_told(folder):
    while not os.path.exists(os.path.join(folder, "end")):
        time.sleep(0.02)
    with open(os.path.join(folder, "ended"), "w"):
        os._exit(0)


def main(path):
    told = display.Display()
    root = told.screen().root
    # To older clients the server sends no raw events while somebody else holds a grab.
    opcode = told.display.get_extension_major(xinput.extname)
    xinput.XIQueryVersion(display=told.display, opcode=opcode, major_version=2, minor_version=2)
    root.xinput_select_events([(xinput.AllMasterDevices, MASK)])
    keys, pointer = Keys(told), Pointer(told)
    record_requests(keys)
    threading.Thread(target=end_when_told, args=(os.path.dirname(path),), daemon=True).start()
    write(path, "watching")
    while True:
        event = told.next_event()
        if event.type == X.MappingNotify:
            keys.changed(event)
        elif event.type == ge.GenericEventCode and event.evtype in KINDS:
            write(path, json.dumps(line_of(event, keys, pointer)))


def write(path, line):
    with open(path, "a") as output:
        output.write(line + "\n")


main(sys.argv[1])
