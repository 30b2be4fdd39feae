"""Recipes and their content addresses, and where packages come from."""

from pathlib import Path

import pytest

from vm_pool import images
from vm_pool.errors import ConfigError, HostUnfit
from vm_pool.images.apt import Source, download_percents, first_error, parse_index_targets
from vm_pool.images.build import installed_versions, missing_for_user_builds, mmdebstrap_options
from vm_pool.images.recipe import Suite, host_suite, recipe

BOOKWORM = Suite(distribution="debian", codename="bookworm", architecture="x86_64")
NOBLE = Suite(distribution="ubuntu", codename="noble", architecture="x86_64")


def test_an_image_is_named_by_all_that_goes_into_it():
    slim = recipe("slim", BOOKWORM)
    assert slim.image_id.startswith("slim-")
    assert recipe("slim", BOOKWORM).image_id == slim.image_id
    assert recipe("slim", NOBLE).image_id != slim.image_id
    more = slim.model_copy(update={"packages": (*slim.packages, "vim")})
    other_files = slim.model_copy(update={"files_sha256": "0" * 64})
    assert len({one.image_id for one in (slim, more, other_files)}) == 3


def test_the_desktop_has_everything_of_slim_and_what_the_guest_server_needs():
    slim, desktop = recipe("slim", BOOKWORM), recipe("desktop", BOOKWORM)
    assert set(slim.packages) < set(desktop.packages)
    assert {"libreoffice-calc", "libreoffice-writer", "chromium"} <= set(desktop.packages) - set(slim.packages)
    assert {"xvfb", "openbox", "python3-xlib", "wmctrl", "socat", "xdotool"} <= set(slim.packages)


def test_every_program_laid_over_an_image_is_a_script():
    programs = [path for path in (Path(images.__file__).parent / "files").rglob("bin/*") if path.is_file()]
    assert {"soffice", "libreoffice", "google-chrome", "chromium", "gnome-terminal"} <= {path.name for path in programs}
    assert [path.name for path in programs if not path.read_bytes().startswith(b"#!")] == []


def test_ubuntu_has_no_browser_package_that_runs_in_an_image():
    assert "chromium" not in recipe("desktop", NOBLE).packages


def test_an_unknown_image_lists_the_known_ones():
    with pytest.raises(ConfigError, match="known images: slim, desktop"):
        recipe("windows", BOOKWORM)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('ID=debian\nVERSION_CODENAME=bookworm\nPRETTY_NAME="Debian"', ("debian", "bookworm")),
        ('ID=linuxmint\nID_LIKE="ubuntu debian"\nVERSION_CODENAME=wilma\nUBUNTU_CODENAME=noble', ("ubuntu", "noble")),
    ],
)
def test_the_suite_is_the_hosts_own(tmp_path, text, found):
    (tmp_path / "os-release").write_text(text)
    suite = host_suite(tmp_path / "os-release")
    assert (suite.distribution, suite.codename) == found


def test_another_distribution_is_refused_by_name(tmp_path):
    (tmp_path / "os-release").write_text('ID=fedora\nPRETTY_NAME="Fedora Linux 44"')
    with pytest.raises(HostUnfit, match="Fedora Linux 44"):
        host_suite(tmp_path / "os-release")


def test_only_the_distributions_own_sources_are_taken():
    listing = "\n".join(
        [
            "http://mirror.example/debian/|bookworm|main|Debian",
            "http://mirror.example/debian/|bookworm|non-free|Debian",
            "http://mirror.example/debian/|bookworm-updates|main|$(ORIGIN)",
            "http://mirror.example/security/|bookworm-security|main|Debian",
            "http://vendor.example/apt/|bookworm|main|Vendor",
            "http://mirror.example/debian/|bookworm-backports|main|Debian",
            "http://mirror.example/debian/|bookworm|main|Debian",
        ]
    )
    assert parse_index_targets(listing, BOOKWORM) == [
        Source(uri="http://mirror.example/debian/", release="bookworm", component="main"),
        Source(uri="http://mirror.example/debian/", release="bookworm-updates", component="main"),
        Source(uri="http://mirror.example/security/", release="bookworm-security", component="main"),
    ]


def test_a_source_line_names_the_keyring_where_there_is_one(tmp_path):
    source = Source(uri="http://mirror.example/debian/", release="bookworm", component="main")
    assert source.line(None) == "deb http://mirror.example/debian/ bookworm main"
    assert source.line(tmp_path / "k.gpg").startswith(f"deb [signed-by={tmp_path}/k.gpg] http")


def test_progress_comes_once_per_percent():
    lines = ["dlstatus:1:0.4:x\n", "Get:1 foo\n", "dlstatus:1:0.9:x\n", "dlstatus:2:1.2:x\n", "dlstatus:9:100:x\n"]
    assert list(download_percents(iter(lines))) == [0.0, 1.0, 100.0]


@pytest.mark.parametrize(
    ("output", "line"),
    [
        (["Reading lists", "E: Unable to locate package foo", "done"], "E: Unable to locate package foo"),
        (["tar: write error: No space left on device", "E: broken"], "No space left on device"),
        (["something odd"], "something odd"),
        ([], "it said nothing"),
    ],
)
def test_the_line_that_says_what_is_wrong_is_found(output, line):
    assert first_error(output) == line


def test_packages_and_exclusions_reach_mmdebstrap():
    options = mmdebstrap_options(recipe("slim", BOOKWORM))
    assert any(option.startswith("--include=") and "mousepad" in option for option in options)
    assert "--dpkgopt=path-exclude=/usr/share/man/*" in options
    assert '--aptopt=APT::Install-Recommends "false"' in options


def test_installed_versions_are_read_from_dpkgs_record(tmp_path):
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/status").write_text(
        "Package: a\nStatus: install ok installed\nVersion: 1.2-3\nDescription: x\n more: y\n\n"
        "Package: b\nStatus: deinstall ok config-files\nVersion: 9\n"
    )
    assert installed_versions(tmp_path) == {"a": "1.2-3"}


def test_a_user_without_subordinate_ids_is_told_the_command(tmp_path):
    message = missing_for_user_builds(tmp_path / "subuid", tmp_path / "subgid")
    assert message is not None
    assert "usermod --add-subuids" in message or "apt-get install -y uidmap" in message
