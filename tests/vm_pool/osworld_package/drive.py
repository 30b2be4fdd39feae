"""Runs OSWorld's own controllers against a guest and prints what they answered, as JSON: `drive.py HOST PORT FOLDER`.

A program of its own, so that nothing of that package is loaded into our tests. The set-up controller also imports a
browser driver, a cloud drive client and the package of all metrics (gigabytes) for steps that are not taken here:
empty modules stand in their places.
"""

import json
import sys
import types
from pathlib import Path
from typing import Any

NOT_USED = {
    "playwright.sync_api": ("sync_playwright", "TimeoutError"),
    "pydrive.auth": ("GoogleAuth",),
    "pydrive.drive": ("GoogleDrive", "GoogleDriveFile", "GoogleDriveFileList"),
    "desktop_env.evaluators.metrics.utils": ("compare_urls",),
}


def leave_out() -> None:
    for name, members in NOT_USED.items():
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            parent = ".".join(parts[:end])
            if parent not in sys.modules and parent != "desktop_env":
                sys.modules[parent] = types.ModuleType(parent)
        for member in members:
            setattr(sys.modules[name], member, object)


def look(control: Any) -> dict[str, Any]:
    picture = control.get_screenshot()
    return {
        "picture": picture[:8].hex(),
        "tree": control.get_accessibility_tree()[:400],
        "platform": control.get_vm_platform(),
        "size": control.get_vm_screen_size(),
        "desktop": control.get_vm_desktop_path(),
        "terminal": control.get_terminal_output(),
        "wallpaper_bytes": len(control.get_vm_wallpaper() or b""),
    }


def act(control: Any) -> dict[str, Any]:
    control.execute_action({"action_type": "MOVE_TO", "parameters": {"x": 200, "y": 300}})
    pointer = control.execute_python_command("print(tuple(pyautogui.position()))")
    for action in (
        {"action_type": "TYPING", "parameters": {"text": "By OSWorld's client: 1 + 1 = 2"}},
        {"action_type": "HOTKEY", "parameters": {"keys": ["ctrl", "a"]}},
        {"action_type": "HOTKEY", "parameters": {"keys": ["ctrl", "c"]}},
        {"action_type": "PRESS", "parameters": {"key": "right"}},
        {"action_type": "PRESS", "parameters": {"key": "enter"}},
        {"action_type": "KEY_DOWN", "parameters": {"key": "shift"}},
        {"action_type": "PRESS", "parameters": {"key": "a"}},
        {"action_type": "KEY_UP", "parameters": {"key": "shift"}},
        {"action_type": "HOTKEY", "parameters": {"keys": ["ctrl", "s"]}},
        {"action_type": "CLICK", "parameters": {"button": "left", "x": 640, "y": 300, "num_clicks": 1}},
        {"action_type": "SCROLL", "parameters": {"dx": 0, "dy": -2}},
    ):
        control.execute_action(action)
    return {"pointer": pointer["output"]}


def run(control: Any) -> dict[str, Any]:
    return {
        "python": control.run_python_script("print('é' * 3)"),
        "python_error": control.run_python_script("1/0"),
        "bash": control.run_bash_script('echo "$0 $PWD"; exit 4', timeout=20, working_dir="/tmp"),
        "bash_too_long": control.run_bash_script("sleep 30", timeout=1),
        "listing": control.get_vm_directory_tree("/home/user/Documents"),
        "file": control.get_file("/home/user/Documents/up.bin").hex(),
    }


def set_up(setup: Any, folder: Path) -> None:
    local = folder / "up.bin"
    local.write_bytes(bytes(range(256)))
    note = folder / "note é.txt"
    note.write_text("as uploaded\n")
    setup.setup(
        [
            {
                "type": "upload_file",
                "parameters": {"files": [{"local_path": str(local), "path": "~/Documents/up.bin"}]},
            },
            {"type": "upload_file", "parameters": {"files": [{"local_path": str(note), "path": "~/note é.txt"}]}},
            {"type": "execute", "parameters": {"command": "touch ~/by-shell && echo done", "shell": True}},
            {"type": "command", "parameters": {"command": ["mkdir", "-p", "/home/user/by-command"]}},
            {"type": "launch", "parameters": {"command": ["mousepad", "/home/user/note é.txt"]}},
            {"type": "execute", "parameters": {"command": ["sh", "-c", "until wmctrl -l | grep -q note; do :; done"]}},
            {"type": "activate_window", "parameters": {"window_name": "note é.txt - Mousepad"}},
        ]
    )


def main(host: str, port: int, folder: Path) -> None:
    leave_out()
    from desktop_env.controllers.python import PythonController  # pyright: ignore
    from desktop_env.controllers.setup import SetupController  # pyright: ignore

    control, setup = PythonController(host, port), SetupController(host, port, cache_dir=str(folder))
    control.retry_interval = 0.1
    set_up(setup, folder)
    answers = {"look": look(control), "act": act(control), "run": run(control)}
    answers["window"] = control.get_vm_window_size("mousepad")
    setup._close_window_setup("Mousepad")
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
