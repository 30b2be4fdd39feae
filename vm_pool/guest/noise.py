"""Names of files that programs write for themselves; a journal of what a user changed leaves them out."""

import fnmatch
import re
from collections.abc import Callable

from .files import TEMPORARY_PREFIX

_NOISE_NAMES = (
    ".cache",
    ".Xauthority*",
    ".dbus",
    ".xsession-errors*",
    ".local/state",
    "__pycache__",
    ".~lock.*#",
    ".*.sw?",
    f"{TEMPORARY_PREFIX}*",
    ".goutputstream-*",
    ".viminfo",
    ".lesshst",
    ".bash_history",
    ".python_history",
    ".wget-hsts",
    "recently-used.xbel*",
)
"""Patterns of file and directory names that are left out wherever they are."""
_NOISE_IN_TMP = (
    ".X11-unix",
    ".ICE-unix",
    ".XIM-unix",
    ".font-unix",
    ".X*-lock",
    "dbus-*",
    "runtime-*",
    "at-spi2*",
    "lu[0-9]*",
    "OSL_PIPE_*",
    ".org.chromium.*",
    ".com.google.Chrome.*",
    "Temp-*",
    "pulse-*",
    "ssh-*",
)
"""Patterns of names that are left out directly below /tmp."""
_NOISE_PATHS = (
    ".config/dconf",
    ".config/pulse",
    ".config/ibus",
    ".config/gtk-*/bookmarks",
    ".config/xfce4",
    ".config/Thunar",
    ".config/Mousepad",
    ".config/lxterminal",
    ".config/libfm",
    ".config/pcmanfm",
    ".config/openbox",
    ".config/libreoffice",
    ".config/chromium",
    ".config/google-chrome",
    ".local/share/gvfs-metadata",
    ".local/share/Mousepad",
    ".local/share/keyrings",
    ".local/share/xorg",
    ".local/share/applications/mimeinfo.cache",
    ".local/share/Trash/directorysizes*",
    ".mozilla",
    ".thunderbird",
    ".pki",
    ".gnupg",
    ".java",
)
"""Patterns of paths below a watched root that are left out: profiles, which programs rewrite all the time."""


def is_noise(root: str, relative: str) -> bool:
    """Whether a path below a watched root is something that programs write for themselves."""
    parent, _, name = relative.rpartition("/")
    if _NOISE_NAME(name) or _NOISE_PATH(relative):
        return True
    return root == "/tmp" and not parent and bool(_NOISE_NAME_IN_TMP(name))  # noqa: S108 - compared, not used


def _matcher(patterns: tuple[str, ...]) -> Callable[[str], "re.Match[str] | None"]:
    """One expression for all shell patterns: a scan asks of every file."""
    return re.compile("|".join(map(fnmatch.translate, patterns))).match


_NOISE_NAME = _matcher(_NOISE_NAMES)
_NOISE_PATH = _matcher(_NOISE_PATHS)
_NOISE_NAME_IN_TMP = _matcher(_NOISE_IN_TMP)
