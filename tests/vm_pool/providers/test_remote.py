"""Guests that run elsewhere: attached to by URL, lent one at a time, reset by the user's own command."""

import asyncio
import json
import os
import re
import sys
from pathlib import Path

import pytest
from PIL import Image
from werkzeug import Request, Response

from vm_pool.errors import BootTimeout, ConfigError, MachineLost, NotSupported
from vm_pool.pool import Pool
from vm_pool.provider import Evidence, Spec, capabilities_of
from vm_pool.providers import make_provider
from vm_pool.providers.remote import RemoteProvider
from vm_pool.providers.remote_hooks import filled, run_hook
from vm_pool.strays import gc

SPEC = Spec(labels={"run": "test"})
INFO = {
    "version": 1,
    "platform": "linux",
    "width": 320,
    "height": 200,
    "user": "user",
    "home": "/home/user",
    "capabilities": ["v1", "tree", "flies"],
}
READY = {"ready": True, "waiting_for": None, "width": INFO["width"], "height": INFO["height"]}


@pytest.fixture
def guest(httpserver) -> str:
    """URL of a guest that is ready and has our routes, as far as attaching needs them."""
    httpserver.expect_request("/v1/info").respond_with_json(INFO)
    httpserver.expect_request("/v1/ready").respond_with_json(READY)
    return httpserver.url_for("").rstrip("/")


def other_url(url: str) -> str:
    """The same guest by another name."""
    return url.replace("localhost", "127.0.0.1")


def provider(tmp_path: Path, *urls: str, **options) -> RemoteProvider:
    return RemoteProvider(urls=urls, state=tmp_path / "remote", **options)


def hook(tmp_path: Path, code: str = "") -> list[str]:
    """A command that notes its arguments, one call a line."""
    program = (
        f"import json, sys; open({str(tmp_path / 'calls')!r}, 'a').write(json.dumps(sys.argv[1:]) + '\\n'); {code}"
    )
    return [sys.executable, "-c", program]


def calls(tmp_path: Path) -> list[list[str]]:
    path = tmp_path / "calls"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


# --- options -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("remote:", "names no guests"),
        ("remote:10.0.0.7", "names no guests"),
        ("remote:ftp://10.0.0.7", "not of the form http://HOST:PORT"),
        ("remote:http://10.0.0.7:99999", "is no URL"),
        ("remote:http://10.0.0.7/path", "not of the form"),
        ("remote:http://a:1,", "not of the form"),
        ("remote:missing.toml", "cannot read 'missing.toml'"),
    ],
)
def test_what_names_no_guest_is_one_line_with_the_next_step(text, reason):
    with pytest.raises(ConfigError, match=reason) as error:
        make_provider(text)
    assert "\n" not in str(error.value)
    assert "remote:http://HOST:PORT" in str(error.value)


def test_a_password_in_a_url_is_refused_and_not_repeated():
    with pytest.raises(ConfigError, match="not of the form") as error:
        make_provider("remote:http://me:hush@10.0.0.7:5000")
    assert "hush" not in str(error.value)


def test_options_may_stand_in_a_toml_file(tmp_path, monkeypatch):
    monkeypatch.setenv("FLEET_TOKEN", "t")
    file = tmp_path / "fleet.toml"
    file.write_text('urls = ["http://10.0.0.7:5000"]\ntoken_env = "FLEET_TOKEN"\nreset = ["revert", "{url}"]\n')
    assert "fresh" in capabilities_of(make_provider(f"remote:{file}"))
    file.write_text('urls = ["http://10.0.0.7:5000"]\nrest = ["revert"]\n')
    with pytest.raises(ConfigError, match="rest: Extra inputs are not permitted"):
        make_provider(f"remote:{file}")
    file.write_text("urls = [")
    with pytest.raises(ConfigError, match="cannot read"):
        make_provider(f"remote:{file}")


def test_the_file_in_the_documentation_is_understood(tmp_path, monkeypatch):
    page = Path(__file__).parents[3] / "docs" / "images-and-pool.md"
    [example] = re.findall(r"```toml\n(urls.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    file = tmp_path / "fleet.toml"
    file.write_text(example, encoding="utf-8")
    monkeypatch.setenv("FLEET_TOKEN", "t")
    can = capabilities_of(make_provider(f"remote:{file}"))
    assert can == {"labels", "keep_disk", "fresh", "snapshot", "fork"}


def test_a_token_that_is_not_set_is_named_by_its_variable(monkeypatch):
    monkeypatch.delenv("FLEET_TOKEN", raising=False)
    with pytest.raises(ConfigError, match=r"not in \$FLEET_TOKEN"):
        make_provider("remote", urls=["http://10.0.0.7:5000"], token_env="FLEET_TOKEN")


# --- attaching -----------------------------------------------------------------------------------------------------


async def test_a_guest_says_what_its_machine_is_and_unknown_claims_mean_nothing(guest, tmp_path):
    remote = provider(tmp_path, guest)
    async with remote.session():
        machine = await remote.boot(SPEC)
        info = machine.info
        assert (info.provider, info.image, info.width, info.home) == ("remote", guest, 320, "/home/user")
        assert info.capabilities == {"v1", "tree"}


async def test_a_guest_of_osworld_is_spoken_to_in_its_own_way(httpserver, tmp_path, guest_picture):
    httpserver.expect_request("/screenshot").respond_with_data(guest_picture)
    httpserver.expect_request("/screen_size", method="POST").respond_with_json({"width": 320, "height": 200})
    httpserver.expect_request("/platform").respond_with_data("Windows")
    said = {"status": "success", "output": "C:\\Users\\Docker\n", "error": "", "returncode": 0}
    httpserver.expect_request("/execute", method="POST").respond_with_json(said)
    httpserver.expect_request("/v1/info").respond_with_data("Not Found", status=404)
    remote = provider(tmp_path, httpserver.url_for("").rstrip("/"))
    async with remote.session():
        machine = await remote.boot(SPEC)
        assert (machine.info.platform, machine.info.user) == ("windows", "Docker")
        assert machine.info.capabilities == {"tree"}


@pytest.fixture
def guest_picture() -> bytes:
    from vm_pool.providers.fake import FakeMachine

    return FakeMachine()._frame().png()


async def test_a_network_cannot_be_given_to_a_guest_that_runs_elsewhere(tmp_path):
    provider = RemoteProvider(urls=["http://127.0.0.1:9"], state=tmp_path)
    with pytest.raises(ConfigError, match="have the network they have, not 'open'"):
        await provider.boot(Spec(network="open"))


async def test_a_guest_that_is_not_there_is_a_boot_timeout_and_is_given_back(tmp_path):
    remote = provider(tmp_path, "http://127.0.0.1:1", ready_timeout_s=0.1)
    with pytest.raises(BootTimeout, match=r"guest at http://127.0.0.1:1 was not ready after 0.1 s"):
        await remote.boot(SPEC)
    assert await remote.strays() == []


async def test_of_a_guest_that_never_gets_ready_its_answers_and_its_screen_are_told(
    httpserver, tmp_path, guest_picture, monkeypatch
):
    waits = {"ready": False, "waiting_for": "a window manager", "width": 320, "height": 200}
    httpserver.expect_request("/v1/info").respond_with_data(json.dumps(INFO))
    httpserver.expect_request("/v1/ready").respond_with_data(json.dumps(waits))
    httpserver.expect_request("/platform").respond_with_data("the token is s3cret\x1b[31m", status=503)
    httpserver.expect_request("/screenshot").respond_with_data(guest_picture)
    monkeypatch.setenv("FLEET_TOKEN", "s3cret")
    url = httpserver.url_for("").rstrip("/")
    reset = hook(tmp_path, "print('reverted to clean')")
    remote = provider(tmp_path, url, reset=reset, ready_timeout_s=0.5, token_env="FLEET_TOKEN")
    async with Pool(remote, concurrency=1) as pool:
        with pytest.raises(BootTimeout, match="see: agent-s3 pool logs r-") as caught:
            async with pool.lease(SPEC):
                pass
    report = caught.value.report
    assert report is not None
    assert (report.provider, report.attempts, report.elapsed_s >= 1.0) == ("remote", 2, True)
    assert report.evidence.log.splitlines() == [
        "the reset hook wrote: reverted to clean",
        f"GET {url}/v1/info: HTTP 200 {json.dumps(INFO)}",
        f"GET {url}/v1/ready: HTTP 200 {json.dumps(waits)}",
        f"GET {url}/platform: HTTP 503 the token is *** [31m",
        f"GET {url}/screenshot: HTTP 200, {len(guest_picture)} bytes",
    ]
    assert report.evidence.screen is not None
    with Image.open(report.evidence.screen) as picture:
        assert picture.size == (320, 200)
    assert await remote.evidence(report.machine_id) == Evidence()  # it was given back


async def test_of_a_guest_that_is_not_there_it_is_told_that_nobody_answers(tmp_path):
    remote = provider(tmp_path, "http://127.0.0.1:1", ready_timeout_s=0.1)
    with pytest.raises(BootTimeout) as caught:
        await remote.boot(SPEC)
    assert caught.value.report is not None
    evidence = caught.value.report.evidence
    assert evidence.screen is None
    assert all("onnect" in line for line in evidence.log.splitlines())


async def test_what_a_failed_reset_wrote_is_told_in_full(guest, tmp_path):
    remote = provider(tmp_path, guest, reset=hook(tmp_path, "print('line 1'); print('no such VM'); sys.exit(3)"))
    with pytest.raises(MachineLost, match="no such VM; see: agent-s3 pool logs r-") as caught:
        await remote.boot(SPEC)
    assert caught.value.report is not None
    assert caught.value.report.evidence.log.startswith("the reset hook wrote: line 1\nno such VM\nGET ")


async def test_the_guests_of_another_fleet_are_not_told_the_token(httpserver, tmp_path, monkeypatch):
    monkeypatch.setenv("FLEET_TOKEN", "s3cret")
    heard: list[str | None] = []

    def refuse(request: Request) -> Response:
        heard.append(request.headers.get("Authorization"))
        return Response(status=503)

    httpserver.expect_request("/v1/info").respond_with_handler(refuse)
    other = provider(tmp_path, httpserver.url_for("").rstrip("/"), ready_timeout_s=20.0)
    booting = asyncio.create_task(other.boot(SPEC))
    while not heard:  # noqa: ASYNC110 - the server is in a thread
        await asyncio.sleep(0.01)
    [stray] = await other.strays()
    ours = provider(tmp_path, "http://127.0.0.1:1", token_env="FLEET_TOKEN")
    assert "HTTP 503" in (await ours.evidence(stray.id)).log
    assert set(heard) == {None}
    booting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await booting


async def test_the_token_goes_into_the_header_and_a_wrong_one_is_the_users_mistake(httpserver, tmp_path, monkeypatch):
    def answer(request: Request) -> Response:
        right = request.headers.get("Authorization") == "Bearer right"
        return Response(json.dumps(INFO if request.path.endswith("info") else READY), 200 if right else 401)

    for path in ("/v1/info", "/v1/ready"):
        httpserver.expect_request(path).respond_with_handler(answer)
    url = httpserver.url_for("").rstrip("/")
    monkeypatch.setenv("FLEET_TOKEN", "right")
    remote = provider(tmp_path, url, token_env="FLEET_TOKEN")
    async with remote.session():
        assert "token" in (await remote.boot(SPEC)).info.capabilities
    monkeypatch.setenv("FLEET_TOKEN", "wrong-one")
    with pytest.raises(ConfigError, match="wants another token") as error:
        await provider(tmp_path, url, token_env="FLEET_TOKEN").boot(SPEC)
    assert "wrong-one" not in str(error.value)


# --- lending -------------------------------------------------------------------------------------------------------


async def test_each_guest_is_lent_once_also_to_other_runs(guest, tmp_path):
    remote, other = provider(tmp_path, guest, other_url(guest)), provider(tmp_path, guest)
    async with remote.session():
        first, second = await remote.boot(SPEC), await remote.boot(SPEC)
        assert first.info.machine_id != second.info.machine_id
        for taker in (remote, other):
            with pytest.raises(ConfigError, match=r"all \d guests are lent; add a URL"):
                await taker.boot(SPEC)
        assert {stray.id for stray in await other.strays()} == {first.info.machine_id, second.info.machine_id}
        await remote.stop(first)
        await remote.stop(first)
        with pytest.raises(MachineLost):
            await first.look(frozenset())
        await remote.boot(SPEC)
    assert await remote.strays() == []


async def test_a_guest_whose_run_died_is_listed_collected_and_lent_again(guest, tmp_path):
    remote = provider(tmp_path, guest)
    machine = await remote.boot(SPEC)
    (note,) = (tmp_path / "remote").glob("*.json")
    dead = json.loads(note.read_text())
    dead["owner"]["started"] += 1
    note.write_text(json.dumps(dead))
    later = provider(tmp_path, guest)
    [stray] = await later.strays()
    assert (stray.id, stray.owner_alive, stray.labels) == (machine.info.machine_id, False, SPEC.labels)
    assert [one.id for one in (await gc([later])).removed] == [machine.info.machine_id]
    async with later.session():
        assert await later.boot(SPEC)
    await remote.stop(machine)


async def test_a_kept_guest_is_lent_to_nobody_else_and_revived_as_it_was(guest, tmp_path):
    remote = provider(tmp_path, guest, reset=hook(tmp_path))
    machine = await remote.boot(SPEC)
    await remote.stop(machine, keep_disk=True)
    later = provider(tmp_path, guest, reset=hook(tmp_path))
    with pytest.raises(ConfigError, match="all 1 guests are lent"):
        await later.boot(SPEC)
    async with later.session():
        revived = await later.revive(machine.info.machine_id)
        assert revived.info.machine_id == machine.info.machine_id
        assert await later.revive(machine.info.machine_id) is revived
    assert len(calls(tmp_path)) == 1
    with pytest.raises(MachineLost, match="no machine of these guests"):
        await later.revive(machine.info.machine_id)


async def test_a_cancelled_start_gives_the_guest_back(guest, tmp_path):
    remote = provider(tmp_path, guest, reset=[sys.executable, "-c", "import time; time.sleep(60)"])
    starting = asyncio.create_task(remote.boot(SPEC))
    while not await remote.strays():  # noqa: ASYNC110 - it is on disk
        await asyncio.sleep(0.01)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert await remote.strays() == []


# --- hooks ---------------------------------------------------------------------------------------------------------


def test_placeholders_are_replaced_within_words_and_never_twice():
    values = {"url": "http://{snapshot};$(x)", "snapshot": "s 1"}
    assert filled(["revert", "--to={snapshot}", "{url}", "{other}"], values) == [
        "revert",
        "--to=s 1",
        "http://{snapshot};$(x)",
        "{other}",
    ]


async def test_the_reset_hook_runs_before_each_lease_without_a_shell(guest, tmp_path):
    remote = provider(tmp_path, guest, reset=[*hook(tmp_path), "{url}; touch x", "$HOME"])
    async with remote.session():
        await remote.stop(await remote.boot(SPEC))
        await remote.boot(SPEC)
    assert calls(tmp_path) == [[f"{guest}; touch x", "$HOME"]] * 2


async def test_a_reset_that_fails_says_why_and_the_guest_is_not_lent(guest, tmp_path):
    for code, reason in (
        ("print('no such VM'); sys.exit(3)", "ended with 3: no such VM"),
        ("1/0", "ZeroDivisionError"),
    ):
        remote = provider(tmp_path, guest, reset=hook(tmp_path, code))
        with pytest.raises(MachineLost, match=reason):
            await remote.boot(SPEC)
        assert await remote.strays() == []
    with pytest.raises(ConfigError, match="cannot run the reset hook 'no-such-command'"):
        await provider(tmp_path, guest, reset=["no-such-command"]).boot(SPEC)


async def test_a_hook_that_takes_too_long_is_killed_with_what_it_started(tmp_path):
    started = tmp_path / "pid"
    script = f"sleep 300 & echo $! > {started}; wait"
    with pytest.raises(MachineLost, match=r"was not over after 0.5 s"):
        await run_hook("reset", ["sh", "-c", script], {"url": "http://x"}, 0.5)
    pid = int(started.read_text())
    while _runs(pid):  # noqa: ASYNC110 - it is another process
        await asyncio.sleep(0.01)


async def test_a_hook_may_leave_a_program_in_the_background(tmp_path):
    started = tmp_path / "pid"
    await run_hook("reset", ["sh", "-c", f"sleep 300 & echo $! > {started}"], {"url": "http://x"}, 60)
    pid = int(started.read_text())
    assert _runs(pid)
    os.kill(pid, 9)


async def test_snapshots_and_forks_need_hooks_and_say_so(guest, tmp_path):
    remote = provider(tmp_path, guest)
    async with remote.session():
        machine = await remote.boot(SPEC)
        with pytest.raises(NotSupported, match="cannot take snapshots by itself; give it the hook 'save'") as error:
            await remote.snapshot(machine)
    assert error.value.capability == "snapshot"
    assert remote.capabilities == {"labels", "keep_disk"}


async def test_with_hooks_a_snapshot_is_saved_restored_and_forgotten(guest, tmp_path):
    note = hook(tmp_path)
    remote = provider(
        tmp_path,
        guest,
        other_url(guest),
        save=[*note, "save", "{url}", "{snapshot}"],
        restore=[*note, "restore", "{url}", "{snapshot}", "{source}"],
        forget=[*note, "forget", "{snapshot}"],
        saves_memory=True,
    )
    assert {"snapshot", "fork"} <= remote.capabilities
    async with remote.session():
        machine = await remote.boot(SPEC)
        snapshot = await remote.snapshot(machine)
        assert snapshot.includes_memory
        fork = await remote.fork(snapshot, labels={"fork": "0"})
        assert fork.info.image == other_url(guest)
        await remote.drop(snapshot)
        await remote.drop(snapshot)
        with pytest.raises(ConfigError, match="no snapshot"):
            await remote.fork(snapshot)
    name = snapshot.snapshot_id
    restored = ["restore", other_url(guest), name, guest]
    assert calls(tmp_path) == [["save", guest, name], restored, ["forget", name]]


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
