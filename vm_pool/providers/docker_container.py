"""One container as a desktop: how it is made, started, saved and ended. All of it blocks."""

import contextlib
import fcntl
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vm_pool.guest_code import GUEST_CODE, HOME, RUN, USER, guest_server
from vm_pool.local_state import DiskState, MachineFolder, machine_uid
from vm_pool.provider import Spec
from vm_pool.providers.docker_daemon import Daemon, DockerConflict, NotInDocker
from vm_pool.providers.docker_image import KIND, REPOSITORY

ID, PLACE, STATE, USERS_LABEL = "agent-s3.id", "agent-s3.place", "agent-s3.state", "agent-s3.label."
"""Labels of what a provider made: which, of which state folder, its `DiskState` as it began, the run's own labels."""
NETWORKS = ("bridge", "internal")
"""Those that Docker makes."""
_BRIDGE_OPTIONS = {"com.docker.network.bridge.enable_icc": "false"}
_SHARED_MEMORY = 512 * 2**20
"""Of /dev/shm, in bytes; counts towards the memory limit."""
_END_S = 10
_LOG_LINES = 60
_FORGET = (
    "find /home /tmp /var/tmp -xdev ! -type d \\( -type s -o -name SingletonLock -o -name SingletonCookie"
    " -o -name SingletonSocket -o -path '/tmp/.X*-lock' \\) -delete 2>/dev/null; exec \"$@\""
)
"""What only running programs need goes before a saved disk starts; see `vm_pool.disk.drop_live_traces`."""
_ENVIRONMENT = {
    "HOME": HOME,
    "USER": USER,
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
}
_FILTER = f"{RUN}/filter"
"""That of sandboxes, which the guest server puts on top of Docker's own: neither refuses all that the other does."""
_KNOWN_ID = re.compile(r"[ms]-[0-9a-f]{10}")


def container_name(machine_id: str) -> str:
    return f"agent-s3-{machine_id}"


def snapshot_reference(snapshot_id: str) -> str:
    return f"{REPOSITORY}-snapshot:{snapshot_id}"


def labels_of(state: DiskState, place: Path) -> dict[str, str]:
    """What tells whose a container or snapshot is, also when its state folder is gone."""
    own = {KIND: state.kind, ID: state.id, PLACE: str(place), STATE: state.model_dump_json()}
    return {**{f"{USERS_LABEL}{key}": value for key, value in state.labels.items()}, **own}


def state_in(labels: Mapping[str, str]) -> DiskState | None:
    """None when the labels are not of this version of ours."""
    with contextlib.suppress(ValueError):
        state = DiskState.model_validate_json(labels.get(STATE, ""))
        if _KNOWN_ID.fullmatch(state.id) and state.id == labels.get(ID):
            return state
    return None


def start_new(
    daemon: Daemon, state: DiskState, folder: MachineFolder, *, image: str, guest_code: Path, place: Path
) -> int:
    """Make a container and start it. Returns the id of its first process on this host."""
    make_network(daemon, state.spec.network)
    with daemon.client(f"start {state.id}") as client:
        client.create_container(
            image=image,
            name=container_name(state.id),
            command=["sh", "-c", _FORGET, "desktop", *guest_server(state.spec, filter_file=_FILTER)],
            hostname="desktop",
            user=f"{machine_uid()}:{machine_uid()}",
            working_dir=HOME,
            environment=_ENVIRONMENT,
            labels=labels_of(state, place),
            host_config=client.create_host_config(**host_options(state.spec, folder, guest_code)),
        )
    return start_again(daemon, state.id)


def host_options(spec: Spec, folder: MachineFolder, guest_code: Path) -> dict[str, Any]:
    """Isolation, limits and what of this host is inside.

    The system in the image belongs to root and the desktop's user is not root, has no capabilities and gets none: what
    is not his he cannot change. The layer itself is writable, since it is what a snapshot saves.
    """
    uid = machine_uid()
    binds = [(folder.ctl, f"{RUN}/ctl"), (folder.frames, f"{RUN}/frames"), (folder.journal, f"{RUN}/journal")]
    mounts = [_bind(source, target) for source, target in binds]
    memory = spec.memory_mib * 2**20 or None
    return {
        "mounts": [
            *mounts,
            _bind(guest_code, GUEST_CODE, read_only=True),
            _bind(folder.machine_id, "/etc/machine-id", read_only=True),
            _bind(folder.call_filter, _FILTER, read_only=True),
        ],
        "tmpfs": {"/run": f"rw,nosuid,nodev,noexec,size=64m,mode=755,uid={uid},gid={uid}"},
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "network_mode": network_name(spec.network),
        "mem_limit": memory,
        "memswap_limit": memory,
        "pids_limit": spec.pids or None,
        "nano_cpus": round(spec.cpus * 1e9) or None,
        "shm_size": _SHARED_MEMORY,
        "ipc_mode": "private",
        "ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}],
        "log_config": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "1"}},
    }


def network_name(network: str) -> str:
    """Docker's name for it; what goes by a proxy needs none of Docker's."""
    return f"agent-s3-{network}" if network in NETWORKS else "none"


def remove_network(daemon: Daemon, network_id: str) -> None:
    """Idempotent. One that a container came to meanwhile stays."""
    with contextlib.suppress(NotInDocker, DockerConflict), daemon.client("remove an unused network") as client:
        client.remove_network(network_id)


def start_again(daemon: Daemon, machine_id: str) -> int:
    """Start a container that is there. Returns the id of its first process; 0 when it has ended already."""
    with daemon.client(f"start {machine_id}") as client:
        client.start(container_name(machine_id))
        return int(client.inspect_container(container_name(machine_id))["State"]["Pid"])


def running_pid(daemon: Daemon, machine_id: str) -> int | None:
    """Of its first process, 0 when it does not run; None when there is no such container. A paused one goes on."""
    name = container_name(machine_id)
    try:
        with daemon.client(f"look at {machine_id}") as client:
            state = client.inspect_container(name)["State"]
            if state["Paused"]:  # its run was killed in the middle of a snapshot
                client.unpause(name)
            return int(state["Pid"]) if state["Running"] else 0
    except NotInDocker:
        return None


def last_words(daemon: Daemon, machine_id: str) -> str:
    """The last line of a container's output, in quotes."""
    with daemon.client(f"read the log of {machine_id}") as client:
        lines = client.logs(container_name(machine_id), tail=1).decode(errors="replace").strip().splitlines()
    return repr(lines[-1]) if lines else "it said nothing"


def log_tail(daemon: Daemon, machine_id: str) -> bytes:
    """The last lines of a container's output; empty when there is no such container."""
    with contextlib.suppress(NotInDocker), daemon.client(f"read the log of {machine_id}") as client:
        return bytes(client.logs(container_name(machine_id), tail=_LOG_LINES))
    return b""


def commit(daemon: Daemon, machine_id: str, state: DiskState, place: Path) -> None:
    """Save a container's disk as an image. Its programs stand still meanwhile, so that files fit together."""
    repository, _, tag = snapshot_reference(state.id).partition(":")
    conf = {"Labels": labels_of(state, place)}
    with daemon.client(f"save {machine_id}", timeout_s=600) as client:
        client.commit(container_name(machine_id), repository=repository, tag=tag, pause=True, conf=conf)


def halt(daemon: Daemon, machine_id: str) -> None:
    """End its processes and keep its disk; idempotent."""
    name = container_name(machine_id)
    with contextlib.suppress(NotInDocker, DockerConflict), daemon.client(f"stop {machine_id}") as client:
        client.kill(name)
    with contextlib.suppress(NotInDocker), daemon.client(f"wait for the end of {machine_id}") as client:
        client.wait(name, timeout=_END_S)


def remove(daemon: Daemon, machine_id: str) -> None:
    """End it and delete its disk; idempotent, also while somebody else does the same."""
    name = container_name(machine_id)
    try:
        with daemon.client(f"remove {machine_id}") as client:
            client.remove_container(name, force=True, v=True)
    except NotInDocker:
        return
    except DockerConflict:
        with contextlib.suppress(NotInDocker), daemon.client(f"wait for the removal of {machine_id}") as client:
            client.wait(name, timeout=_END_S, condition="removed")


def remove_snapshot(daemon: Daemon, snapshot_id: str, place: Path) -> None:
    """Idempotent. What containers still use goes with the last of them, by `prune`."""
    with contextlib.suppress(NotInDocker), daemon.client(f"remove {snapshot_id}") as client:
        client.remove_image(snapshot_reference(snapshot_id), force=True)
    prune(daemon, place)


def prune(daemon: Daemon, place: Path) -> None:
    """Delete what was left of dropped snapshots for machines that have gone since."""
    wanted = {"dangling": True, "label": [f"{PLACE}={place}", f"{KIND}=snapshot"]}
    with (place / "prune.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two removals of one image end in an error of the daemon's own
        with daemon.client("list dropped snapshots") as client:
            dropped = [str(image["Id"]) for image in client.images(filters=wanted)]
        for image_id in dropped:
            _remove_unused(daemon, image_id)


def _remove_unused(daemon: Daemon, image_id: str) -> None:
    """An image that has gone meanwhile, or that a machine still uses, is left alone."""
    with (
        contextlib.suppress(NotInDocker, DockerConflict),
        daemon.client("delete a dropped snapshot") as client,
    ):
        client.remove_image(image_id)


def _bind(source: Path, target: str, *, read_only: bool = False) -> dict[str, Any]:
    return {"Type": "bind", "Source": str(source), "Target": target, "ReadOnly": read_only}


def make_network(daemon: Daemon, network: str) -> None:
    """One for all machines of a kind; they cannot see each other in it."""
    if network not in NETWORKS:
        return
    name = network_name(network)
    with contextlib.suppress(DockerConflict), daemon.client(f"make the network {name}") as client:
        if not client.networks(filters={"name": f"^{name}$"}):
            client.create_network(
                name,
                driver="bridge",
                internal=network == "internal",
                options=_BRIDGE_OPTIONS,
                check_duplicate=True,
                labels={KIND: "network"},
            )
