"""The guest server inside our own desktops: where it lies there, how it is started, and its compiled code."""

import fcntl
import hashlib
import shutil
from pathlib import Path

from vm_pool.images import Image
from vm_pool.images.tree import run_in_tree
from vm_pool.local_state import EGRESS_SOCKET, SOCKET_NAME, TOKEN_NAME, DiskState
from vm_pool.network import parse_network
from vm_pool.provider import Spec
from vm_pool.types import MachineInfo

GUEST_SOURCE = Path(__file__).parent / "guest"
GUEST_CODE = "/opt/agent-s3/guest"
RUN = "/run/agent-s3"
"""Socket and token in `ctl`, the framebuffer in `frames`, what the journal keeps in `journal`."""
USER, UID, HOME = "user", 1000, "/home/user"
CAPABILITIES = frozenset({"v1", "tree", "journal", "clipboard", "settle", "token"})


def machine_info(state: DiskState, provider: str) -> MachineInfo:
    return MachineInfo(
        machine_id=state.id,
        provider=provider,
        image=state.image_id,
        platform="linux",
        width=state.spec.width,
        height=state.spec.height,
        user=USER,
        home=HOME,
        capabilities=CAPABILITIES if parse_network(state.spec.network).kind == "none" else CAPABILITIES | {"internet"},
    )


def guest_server(spec: Spec, *, filter_file: str | None = None) -> list[str]:
    """The command that starts it, on a unix socket. `filter_file`: inside, a system call filter to put on itself."""
    filtered = ["--filter", filter_file] if filter_file else []
    by_proxy = parse_network(spec.network).by_proxy
    egress = ["--egress", f"{RUN}/ctl/{EGRESS_SOCKET}"] if by_proxy else []
    return [
        *("python3", "-I", f"{GUEST_CODE}/main.py"),
        *("--socket", f"{RUN}/ctl/{SOCKET_NAME}", "--token-file", f"{RUN}/ctl/{TOKEN_NAME}"),
        *("--size", f"{spec.width}x{spec.height}", "--frames", f"{RUN}/frames"),
        *("--journal", HOME, "--journal-stock", f"{RUN}/journal/stock.json"),
        *filtered,
        *egress,
    ]


def guest_code(guests: Path, image: Image) -> Path:
    """A copy of the guest server compiled by the image's Python: compiling at each boot would cost 60 ms and more.

    It is a copy also because machines need not be able to read the directory that this package lies in.
    """
    files = sorted(path for path in GUEST_SOURCE.rglob("*") if path.is_file() and path.suffix != ".pyc")
    digest = hashlib.sha256(image.id.encode())
    for path in files:
        digest.update(f"{path.relative_to(GUEST_SOURCE)}\0".encode() + path.read_bytes())
    target = guests / digest.hexdigest()[:16]
    with (guests / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            _compile(files, target, image.rootfs)
    return target / "guest"


def _compile(files: list[Path], target: Path, rootfs: Path) -> None:
    partial = target.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    for path in files:
        copy = partial / "guest" / path.relative_to(GUEST_SOURCE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    compile_all = ["python3", "-I", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    run_in_tree(rootfs, [*compile_all, "-d", "/opt/agent-s3/guest", "/mnt"], extra=(partial / "guest", "/mnt"))
    for path in (partial, *partial.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    partial.rename(target)
