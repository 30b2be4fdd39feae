"""Providers by name."""

import pytest

from vm_pool import providers
from vm_pool.errors import ConfigError, HostUnfit
from vm_pool.providers import Entry, make_provider, provider_class


def test_every_provider_of_the_table_can_be_made():
    for name in providers.PROVIDERS:
        assert make_provider(name).name == name


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"unknown provider 'vmware'; known providers: sandbox, fake"):
        make_provider("vmware")


def test_a_missing_extra_is_named():
    with pytest.raises(HostUnfit, match=r"pip install 'agent-s3\[libvirt\]'"):
        provider_class("other", Entry("no_such_package_here", "Other", "libvirt"))
