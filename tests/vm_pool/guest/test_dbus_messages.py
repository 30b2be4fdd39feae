"""D-Bus messages are written and read as the specification says."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vm_pool.guest.dbus_messages import (
    BusError,
    Call,
    Reply,
    encode_call,
    message_end,
    read_body,
    read_fields,
    read_reply,
)

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


def answer(to: int) -> bytes:
    """One that says `done`."""
    fields = b"\5\1u\0" + struct.pack("<I", to) + b"\x08\1g\0\1s\0"
    body = struct.pack("<I", 4) + b"done\0"
    head = struct.pack("<BBBBIII", ord("l"), 2, 0, 1, len(body), 9, len(fields))
    return head + fields + b"\0" * (-len(fields) % 8) + body


def test_only_the_answers_that_are_waited_for_are_read():
    assert read_reply(answer(7), {7, 8}) == (7, Reply(("done",), None))
    assert read_reply(answer(7), {8}) is None
    assert read_reply(encode_call(CALL, 7), {7}) is None
