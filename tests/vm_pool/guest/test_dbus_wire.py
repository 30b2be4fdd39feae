"""D-Bus messages are written and read as the specification says."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vm_pool.guest.dbus_wire import BusError, Call, encode_call, message_end, read_body, read_fields, socket_path

CALL = Call(":1.5", "/org/a11y/x", "org.a11y.atspi.Text", "GetText", "ii", (0, -1))


def test_a_call_has_its_fields_and_its_body():
    message = encode_call(CALL, 7)
    assert message_end(message, 0) == len(message)
    fields, body_start = read_fields(message)
    assert fields == {1: CALL.path, 2: CALL.interface, 3: CALL.member, 6: CALL.destination, 8: "ii"}
    assert body_start % 8 == 0
    assert read_body(message[body_start:], "ii") == (0, -1)
    assert struct.unpack_from("<I", message, 8) == (7,)


@given(st.lists(st.tuples(st.sampled_from("su"), st.text(max_size=9), st.integers(0, 2**32 - 1)), max_size=6))
def test_what_is_written_is_read_back(parts):
    signature = "".join(kind for kind, _, _ in parts)
    arguments = tuple(text if kind == "s" else number for kind, text, number in parts)
    message = encode_call(Call("d", "/", "i", "m", signature, arguments), 1)
    _, start = read_fields(message)
    assert read_body(message[start:], signature) == arguments


def test_a_boolean_travels_as_a_variant():
    message = encode_call(Call("d", "/", "i", "m", "ssv", ("a", "b", True)), 1)
    _, start = read_fields(message)
    assert read_body(message[start:], "ssv") == ("a", "b", 1)


def test_nested_answers_are_read():
    # One structure of an array of strings and a dictionary of variants: alignment counts at every step.
    strings = b"\x0d\0\0\0" + b"\1\0\0\0a\0" + b"\0\0" + b"\0\0\0\0\0"
    body = strings + b"\0" * (-len(strings) % 4)
    entries = b"\1\0\0\0k\0" + b"\1u\0" + b"\0" * 3 + b"\x2a\0\0\0"
    start = len(body) + 4
    body += struct.pack("<I", len(entries)) + b"\0" * (-start % 8) + entries
    assert read_body(body, "(asa{sv})") == ((["a", ""], {"k": 42}),)


def test_a_message_that_has_not_come_whole_has_no_end():
    message = encode_call(CALL, 1)
    assert all(message_end(message[:length], 0) is None for length in range(len(message)))


@pytest.mark.parametrize("message", [b"B" + b"\0" * 15, b"l\1\0\1" + b"\xff" * 12])
def test_what_is_no_message_of_ours_is_refused(message):
    with pytest.raises(BusError):
        message_end(message, 0)


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
