"""Programs are restored where CRIU works, else started again; who insists on one way hears why it cannot be."""

import pytest

from vm_pool.criu import Criu
from vm_pool.errors import ConfigError, HostUnfit
from vm_pool.providers import make_provider
from vm_pool.providers.sandbox_criu_ways import Choice


def nowhere() -> Criu:
    raise HostUnfit("there is no CRIU; run: agent-s3 pool criu")


def test_without_criu_copies_start_cold_and_the_reason_names_the_command_that_mends_it():
    assert Choice("auto", nowhere).cloning == ("boot", "there is no CRIU; run: agent-s3 pool criu")


def test_who_insists_on_restoring_is_refused_without_criu():
    with pytest.raises(HostUnfit, match="run: agent-s3 pool criu"):
        _ = Choice("restore", nowhere).cloning


def test_who_wants_copies_that_start_cold_needs_no_criu():
    assert Choice("boot", nowhere).cloning == ("boot", "it was asked for")


def test_an_unknown_way_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"unknown way of cloning 'fork'; known: auto, restore, boot"):
        make_provider("sandbox-criu", cloning="fork")
