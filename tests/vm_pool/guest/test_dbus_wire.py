"""Buses are found by their addresses."""

import pytest

from vm_pool.guest.dbus_messages import BusError
from vm_pool.guest.dbus_wire import socket_path


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("unix:path=/run/user/1000/bus", "/run/user/1000/bus"),
        ("unix:path=/tmp/x,guid=1f", "/tmp/x"),
        ("tcp:host=x;unix:abstract=/tmp/y,guid=2", "\0/tmp/y"),
    ],
)
def test_the_socket_is_found_in_a_bus_address(address, path):
    assert socket_path(address) == path


def test_an_address_without_a_socket_is_an_error():
    with pytest.raises(BusError):
        socket_path("tcp:host=x,port=1")
