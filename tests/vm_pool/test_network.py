"""What machines may reach: the words for it, and addresses that none may."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vm_pool.addresses import why_unreachable
from vm_pool.errors import ConfigError
from vm_pool.network import Server, check_network, parse_network, plain_name


@pytest.mark.parametrize(
    ("said", "admitted", "refused"),
    [
        ("none", [], ["example.org", "localhost"]),
        ("open", ["example.org", "a.b.c"], []),
        ("bridge", [], ["example.org"]),
        ("allow:example.org", ["example.org"], ["www.example.org", "notexample.org", "example.org.evil.test", "org"]),
        ("allow:*.example.org", ["www.example.org", "a.b.example.org"], ["example.org", "xexample.org", "org"]),
        ("allow:a.test, B.TEST.", ["a.test", "b.test"], ["c.test"]),
        ("allow:Bücher.example", ["xn--bcher-kva.example"], ["bucher.example"]),
        ("allow:shop.test=127.0.0.1:8080", ["shop.test"], ["127.0.0.1", "other.test"]),
        ("allow:192.0.2.7", ["192.0.2.7"], ["192.0.2.8"]),
    ],
)
def test_names_are_admitted_or_not(said, admitted, refused):
    network = parse_network(said)
    assert [name for name in admitted if not network.admits(name)] == []
    assert [name for name in refused if network.admits(name)] == []


def test_a_name_may_lead_to_a_server_that_the_user_named():
    network = parse_network("allow:shop.test=127.0.0.1:8080,six.test=[::1]:443,example.org")
    assert network.servers == {"shop.test": Server("127.0.0.1", 8080), "six.test": Server("::1", 443)}


NO_NETWORKS = """
all
allow
allow:
none:example.org
open:
allow:a b
allow:a,,b
allow:*
allow:http://a.b
allow:x=host:80
allow:x=127.0.0.1
allow:x=127.0.0.1:0
allow:x=127.0.0.1:99999
"""


@pytest.mark.parametrize("said", ["allow:a\nb", *NO_NETWORKS.split("\n")[:-1]])
def test_what_is_no_network_is_refused_in_one_line(said):
    with pytest.raises(ConfigError, match=r"write none, open, or allow:") as caught:
        parse_network(said)
    assert "\n" not in str(caught.value)


def test_networks_of_containers_are_refused_where_there_are_none():
    assert check_network("open", "the sandbox").by_proxy
    with pytest.raises(ConfigError, match="the sandbox has no network 'bridge', which is for containers"):
        check_network("bridge", "the sandbox")


@given(st.text(max_size=40))
def test_a_name_becomes_plain_or_is_none(name):
    try:
        plain = plain_name(name)
    except ValueError:
        return
    assert plain == plain_name(plain)
    assert plain.isascii()
    assert not set(plain) & set(" \r\n/@")


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254"),
        *("100.64.0.1", "224.0.0.251", "255.255.255.255", "240.0.0.1", "198.18.0.1", "168.63.129.16", "::", "::1"),
        *("fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1"),
        *("64:ff9b::7f00:1", "64:ff9b:1::a00:1", "2002:7f00:1::1", "2002:a9fe:a9fe::1", "2001:db8::1"),
        "2001:0:0:0:0:0:80ff:fffe",
    ],
)
def test_addresses_of_this_host_and_of_private_networks_cannot_be_reached(address):
    assert why_unreachable(address) == "it is no public address"


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "::ffff:1.1.1.1"])
def test_public_addresses_can(address):
    assert why_unreachable(address) is None


def test_what_is_no_address_is_none():
    with pytest.raises(ValueError, match="localhost"):
        why_unreachable("localhost")
