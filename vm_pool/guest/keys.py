"""Key names and characters as X key symbols. Pure data and functions.

The names are those of pyautogui's `KEYBOARD_KEYS`, plus the synonyms that models write.
Source: X11 `keysymdef.h` and `XF86keysym.h` for the values.
"""

_MODIFIERS = {
    "shift": 0xFFE1,
    "shiftleft": 0xFFE1,
    "shiftright": 0xFFE2,
    "ctrl": 0xFFE3,
    "control": 0xFFE3,
    "ctrlleft": 0xFFE3,
    "ctrlright": 0xFFE4,
    "alt": 0xFFE9,
    "altleft": 0xFFE9,
    "altright": 0xFFEA,
    "altgr": 0xFE03,
    "option": 0xFFE9,
    "optionleft": 0xFFE9,
    "optionright": 0xFFEA,
    "win": 0xFFEB,
    "winleft": 0xFFEB,
    "winright": 0xFFEC,
    "super": 0xFFEB,
    "meta": 0xFFEB,
    "cmd": 0xFFEB,
    "command": 0xFFEB,
    "fn": 0xFFEB,
}
_EDITING = {
    "backspace": 0xFF08,
    "tab": 0xFF09,
    "clear": 0xFF0B,
    "enter": 0xFF0D,
    "return": 0xFF0D,
    "pause": 0xFF13,
    "scrolllock": 0xFF14,
    "esc": 0xFF1B,
    "escape": 0xFF1B,
    "space": 0x20,
    "del": 0xFFFF,
    "delete": 0xFFFF,
    "ins": 0xFF63,
    "insert": 0xFF63,
    "capslock": 0xFFE5,
    "numlock": 0xFF7F,
}
_NAVIGATION = {
    "home": 0xFF50,
    "left": 0xFF51,
    "up": 0xFF52,
    "right": 0xFF53,
    "down": 0xFF54,
    "arrowleft": 0xFF51,
    "arrowup": 0xFF52,
    "arrowright": 0xFF53,
    "arrowdown": 0xFF54,
    "pgup": 0xFF55,
    "pageup": 0xFF55,
    "page_up": 0xFF55,
    "pgdn": 0xFF56,
    "pagedown": 0xFF56,
    "page_down": 0xFF56,
    "end": 0xFF57,
}
_KEYPAD = {
    "multiply": 0xFFAA,
    "add": 0xFFAB,
    "separator": 0xFFAC,
    "subtract": 0xFFAD,
    "decimal": 0xFFAE,
    "divide": 0xFFAF,
    "numenter": 0xFF8D,
    **{f"num{digit}": 0xFFB0 + digit for digit in range(10)},
}
_SYSTEM = {
    "select": 0xFF60,
    "print": 0xFF61,
    "printscreen": 0xFF61,
    "prntscrn": 0xFF61,
    "prtsc": 0xFF61,
    "prtscr": 0xFF61,
    "execute": 0xFF62,
    "apps": 0xFF67,
    "menu": 0xFF67,
    "help": 0xFF6A,
    "modechange": 0xFF7E,
    "convert": 0xFF23,
    "nonconvert": 0xFF22,
    "kanji": 0xFF21,
    "kana": 0xFF2D,
    "hangul": 0xFF31,
    "hanguel": 0xFF31,
    "hanja": 0xFF34,
    "yen": 0xA5,
}
_MEDIA = {
    "volumedown": 0x1008FF11,
    "volumemute": 0x1008FF12,
    "volumeup": 0x1008FF13,
    "playpause": 0x1008FF14,
    "stop": 0x1008FF15,
    "prevtrack": 0x1008FF16,
    "nexttrack": 0x1008FF17,
    "browserhome": 0x1008FF18,
    "launchmail": 0x1008FF19,
    "browsersearch": 0x1008FF1B,
    "browserback": 0x1008FF26,
    "browserforward": 0x1008FF27,
    "browserstop": 0x1008FF28,
    "browserrefresh": 0x1008FF29,
    "sleep": 0x1008FF2F,
    "browserfavorites": 0x1008FF30,
    "launchmediaselect": 0x1008FF32,
    "launchapp1": 0x1008FF33,
    "launchapp2": 0x1008FF4A,
}
_FUNCTION = {f"f{number}": 0xFFBD + number for number in range(1, 25)}
NAMED_KEYS: dict[str, int] = {**_MODIFIERS, **_EDITING, **_NAVIGATION, **_KEYPAD, **_SYSTEM, **_MEDIA, **_FUNCTION}

_CONTROL_CHARACTERS = {"\n": 0xFF0D, "\t": 0xFF09, "\b": 0xFF08, "\x1b": 0xFF1B}


def keysym_of_character(character: str) -> int | None:
    """Key symbol that types one character; None for control characters and lone surrogates, which no key types."""
    if character in _CONTROL_CHARACTERS:
        return _CONTROL_CHARACTERS[character]
    code = ord(character)
    if code < 0x20 or 0x7F <= code < 0xA0 or 0xD800 <= code <= 0xDFFF:
        return None
    return code if code <= 0xFF else 0x01000000 + code


def keysym_of_key(name: str) -> int | None:
    """Key symbol of a key name or of a single character; None when there is no such key."""
    if len(name) == 1:
        return keysym_of_character(name)
    return NAMED_KEYS.get(name.lower())


def typed_form(text: str) -> str:
    """The characters that are really typed: one line end is one Enter, whatever its convention."""
    return text.replace("\r\n", "\n").replace("\r", "\n")
