"""Input events as pyautogui code: the last step before a guest that understands nothing else. Pure.

Every value is written with `repr` and was checked before, so that the code holds no text that is not a literal.
"""

from collections.abc import Sequence

from vm_pool.events import Chord, Click, Drag, InputEvent, KeyDown, KeyUp, Move, Press, Release, Scroll, Text

_PRELUDE = """\
import time
import pyautogui
pyautogui.PAUSE = 0
pyautogui.FAILSAFE = False
def type_text(text):
    if text.isascii():
        return type_ascii(text)
    try:
        from Xlib import X, display
        from Xlib.ext import xtest
    except ImportError:
        return paste(text)
    type_by_spare_keys(text, display.Display(), xtest.fake_input, (X.KeyPress, X.KeyRelease))
def type_ascii(text):
    for number, part in enumerate(text.split('<')):
        if number:
            pyautogui.hotkey('shift', ',')
        pyautogui.write(part)
def paste(text):
    import pyperclip
    pyperclip.copy(text)
    pyautogui.hotkey('ctrl', 'v')
def type_by_spare_keys(text, screen, send, press_and_release):
    first = screen.display.info.min_keycode
    count = screen.display.info.max_keycode - first + 1
    mapping = screen.get_keyboard_mapping(first, count)
    spare = [first + number for number, symbols in enumerate(mapping) if not any(symbols)]
    if not spare:
        return paste(text)
    while text:
        keys, length = {}, 0
        for character in text:
            if character not in keys and len(keys) == len(spare):
                break
            keys.setdefault(character, spare[min(len(keys), len(spare) - 1)])
            length += 1
        for character, key in keys.items():
            symbol = {10: 0xFF0D, 9: 0xFF09}.get(ord(character), ord(character))
            symbol += 0x1000000 if ord(character) > 255 else 0
            screen.change_keyboard_mapping(key, [(symbol, symbol)])
        screen.sync()
        time.sleep(0.2)  # programs read the new mapping, and nothing says when they have
        for character in text[:length]:
            for what in press_and_release:
                send(screen, what, keys[character])
            screen.sync()
            time.sleep(0.005)
        time.sleep(0.2)
        text = text[length:]
    for key in spare:
        screen.change_keyboard_mapping(key, [(0, 0)])
    screen.sync()
"""
"""`<` is typed by its keys, for pyautogui takes it for `>`; other scripts by keys that have no symbol yet, since tools
that lend one key to one character after another lose those that a program looks up late."""
_EPILOGUE = "print('pointer', *map(int, pyautogui.position()))"
_PYAUTOGUI_NAMES = {
    "control": "ctrl",
    "super": "win",
    "meta": "win",
    "cmd": "win",
    "menu": "apps",
    "page_up": "pageup",
    "page_down": "pagedown",
    "arrowleft": "left",
    "arrowright": "right",
    "arrowup": "up",
    "arrowdown": "down",
    "numenter": "enter",
    "altgr": "altright",
}


def code_of(events: Sequence[InputEvent]) -> str:
    """A Python program that sends the events and prints `pointer X Y` when it is done."""
    lines = [line for event in events for line in _lines(event)]
    return "\n".join([_PRELUDE, *lines, _EPILOGUE])


def _lines(event: InputEvent) -> list[str]:
    match event:
        case KeyDown():
            return [f"pyautogui.keyDown({_key(event.key)!r})"]
        case KeyUp():
            return [f"pyautogui.keyUp({_key(event.key)!r})"]
        case Chord():
            return [f"pyautogui.hotkey(*{[_key(key) for key in event.keys]!r})"]
        case Text():
            return [f"type_text({event.text!r})"]
        case _:
            return _pointer_lines(event)


def _pointer_lines(event: Move | Click | Press | Release | Drag | Scroll) -> list[str]:
    match event:
        case Move():
            return [f"pyautogui.moveTo({event.x}, {event.y})"]
        case Click():
            return [f"pyautogui.click({event.x}, {event.y}, clicks={event.count}, button={event.button!r})"]
        case Press():
            return [f"pyautogui.mouseDown(button={event.button!r})"]
        case Release():
            return [f"pyautogui.mouseUp(button={event.button!r})"]
        case Drag():
            return _drag(event)
        case Scroll():
            return _scroll(event)


def _drag(event: Drag) -> list[str]:
    return [
        f"pyautogui.moveTo({event.x}, {event.y})",
        f"pyautogui.mouseDown(button={event.button!r})",
        f"pyautogui.moveTo({event.to_x}, {event.to_y}, duration={max(0.11, event.milliseconds / 1000)})",
        f"pyautogui.mouseUp(button={event.button!r})",
    ]


def _scroll(event: Scroll) -> list[str]:
    lines = [f"pyautogui.moveTo({event.x}, {event.y})"]
    if event.dy:
        lines.append(f"pyautogui.scroll({event.dy})")
    if event.dx:
        lines.append(f"pyautogui.hscroll({event.dx})")
    return lines


def _key(name: str) -> str:
    name = name if len(name) == 1 else name.lower()
    return _PYAUTOGUI_NAMES.get(name, name)
