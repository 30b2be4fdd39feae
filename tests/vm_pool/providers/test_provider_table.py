"""Providers by name."""

from importlib.util import find_spec

import pytest

from vm_pool import providers
from vm_pool.errors import ConfigError, HostUnfit
from vm_pool.providers import Entry, make_provider, provider_class

OPTIONS = {"remote": {"urls": ["http://127.0.0.1:5000"]}}


@pytest.mark.parametrize(("name", "entry"), providers.PROVIDERS.items())
def test_every_provider_of_the_table_can_be_made(name, entry):
    if entry.extra and find_spec(entry.extra) is None:
        with pytest.raises(HostUnfit, match=rf"agent-s3\[{entry.extra}\]"):
            make_provider(name)
    else:
        assert make_provider(name, **OPTIONS.get(name, {})).name == name


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"unknown provider 'vmware'; known providers: sandbox, .*docker, .*fake"):
        make_provider("vmware")


def test_text_after_the_name_is_for_those_that_take_it():
    assert make_provider("remote:http://127.0.0.1:5000").name == "remote"
    with pytest.raises(ConfigError, match="takes nothing after its name"):
        make_provider("fake:http://127.0.0.1:5000")


def test_a_missing_extra_is_named():
    with pytest.raises(HostUnfit, match=r"pip install 'agent-s3\[libvirt\]'"):
        provider_class("other", Entry("no_such_package_here", "Other", "libvirt"))
