"""D-Bus messages as bytes, without a connection. Little-endian only, as the buses of one machine are.

Source: D-Bus Specification 0.43, "Message Protocol".
"""

import struct
from collections.abc import Callable, Container
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

_CALL, _RETURN, _ERROR = 1, 2, 3
_PATH, _INTERFACE, _MEMBER, _ERROR_NAME, _REPLY_SERIAL, _DESTINATION, _SENDER, _SIGNATURE = range(1, 9)
_FIXED_HEADER = 16
_LARGEST_MESSAGE = 64 * 1024 * 1024
_ALIGNMENT = {kind: size for kinds, size in (("ygv", 1), ("nq", 2), ("biusoa", 4), ("xtd({", 8)) for kind in kinds}

Reader = Callable[[bytes, int], "tuple[Any, int]"]


class BusError(Exception):
    """The bus cannot be reached, or speaks something else."""


@dataclass(frozen=True)
class Call:
    """One method call. `arguments` match `signature`, of which only `s`, `o`, `i`, `u` and `v` (a bool) are needed."""

    destination: str
    path: str
    interface: str
    member: str
    signature: str = ""
    arguments: tuple[Any, ...] = ()


class Reply(NamedTuple):
    """An answer: values by the answer's own signature, or the error's name."""

    values: tuple[Any, ...]
    error: str | None


def encode_call(call: Call, serial: int) -> bytes:
    body = _encode_body(call.signature, call.arguments)
    fields = bytearray()
    strings = ((_PATH, "o", call.path), (_INTERFACE, "s", call.interface))
    strings += ((_MEMBER, "s", call.member), (_DESTINATION, "s", call.destination))
    for code, kind, value in strings:
        fields += b"\0" * (-len(fields) % 8) + bytes((code, 1, ord(kind), 0)) + _string(value)
    if call.signature:
        fields += b"\0" * (-len(fields) % 8) + bytes((_SIGNATURE, 1, ord("g"), 0)) + _signature(call.signature)
    head = struct.pack("<BBBBIII", ord("l"), _CALL, 0, 1, len(body), serial, len(fields))
    return head + bytes(fields) + b"\0" * (-len(fields) % 8) + body


def _encode_body(signature: str, arguments: tuple[Any, ...]) -> bytes:
    body = bytearray()
    for kind, value in zip(signature, arguments, strict=True):
        if kind == "v":
            body += b"\1b\0" + b"\0" * (-(len(body) + 3) % 4) + struct.pack("<I", value)
            continue
        body += b"\0" * (-len(body) % 4)
        body += _string(value) if kind in "so" else struct.pack("<i" if kind == "i" else "<I", value)
    return bytes(body)


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<I", len(data)) + data + b"\0"


def _signature(text: str) -> bytes:
    return bytes((len(text),)) + text.encode() + b"\0"


def message_end(buffer: "bytes | bytearray", start: int) -> int | None:
    """Where the message that begins at `start` ends; None while it is not there whole. Raises: `BusError`."""
    if len(buffer) - start < _FIXED_HEADER:
        return None
    body_length, _, fields_length = struct.unpack_from("<III", buffer, start + 4)
    length = _FIXED_HEADER + fields_length + (-fields_length % 8) + body_length
    if buffer[start] != ord("l") or length > _LARGEST_MESSAGE:
        raise BusError("the bus sent something that is no little-endian message")
    return start + length if len(buffer) - start >= length else None


def read_reply(message: bytes, wanted: "Container[int]") -> "tuple[int, Reply] | None":
    """Serial of the call that a whole message answers, and the answer; None when it answers none of the wanted ones."""
    kind = message[1]
    if kind not in (_RETURN, _ERROR):
        return None
    fields, body_start = read_fields(message)
    serial = fields.get(_REPLY_SERIAL, 0)
    if serial not in wanted:
        return None
    values = read_body(message[body_start:], fields.get(_SIGNATURE, ""))
    return serial, Reply(values, fields.get(_ERROR_NAME, "unnamed") if kind == _ERROR else None)


def read_fields(message: bytes) -> "tuple[dict[int, Any], int]":
    """Header fields by code, and where the body starts."""
    (length,) = struct.unpack_from("<I", message, 12)
    end = _FIXED_HEADER + length
    fields: dict[int, Any] = {}
    position = _FIXED_HEADER
    while position < end:
        position += -position % 8
        code = message[position]
        fields[code], position = _read_variant(message, position + 1)
    return fields, end + (-end % 8)


def read_body(body: bytes, signature: str) -> tuple[Any, ...]:
    values: list[Any] = []
    position = 0
    for reader in _readers(signature):
        value, position = reader(body, position)
        values.append(value)
    return tuple(values)


@lru_cache(maxsize=256)
def _readers(signature: str) -> tuple[Reader, ...]:
    readers: list[Reader] = []
    while signature:
        reader, signature = _parse_type(signature)
        readers.append(reader)
    return tuple(readers)


def _parse_type(signature: str) -> "tuple[Reader, str]":
    """A reader for the first complete type, and the rest of the signature. Raises: `BusError`."""
    kind, rest = signature[0], signature[1:]
    if kind in _SIMPLE:
        return _SIMPLE[kind], rest
    if kind == "a":
        alignment = _ALIGNMENT[rest[0]]
        is_dictionary = rest[0] == "{"
        element, rest = _parse_type(rest)
        return _array_reader(element, alignment, is_dictionary), rest
    if kind in "({":
        members: list[Reader] = []
        while rest[0] not in ")}":
            member, rest = _parse_type(rest)
            members.append(member)
        return _struct_reader(tuple(members)), rest[1:]
    raise BusError(f"a type that this client does not read: {signature!r}")


def _array_reader(element: Reader, alignment: int, is_dictionary: bool) -> Reader:
    def read(buffer: bytes, position: int) -> "tuple[Any, int]":
        position += -position % 4
        (length,) = _U32.unpack_from(buffer, position)
        position += 4
        position += -position % alignment
        end = position + length
        values: list[Any] = []
        while position < end:
            value, position = element(buffer, position)
            values.append(value)
        return (dict(values) if is_dictionary else values), end

    return read


def _struct_reader(members: tuple[Reader, ...]) -> Reader:
    def read(buffer: bytes, position: int) -> "tuple[Any, int]":
        position += -position % 8
        values: list[Any] = []
        for member in members:
            value, position = member(buffer, position)
            values.append(value)
        return tuple(values), position

    return read


_U32 = struct.Struct("<I")


def _number_reader(form: str) -> Reader:
    packed = struct.Struct(form)
    size = packed.size

    def read(buffer: bytes, position: int) -> "tuple[Any, int]":
        position += -position % size
        return packed.unpack_from(buffer, position)[0], position + size

    return read


def _read_string(buffer: bytes, position: int) -> "tuple[str, int]":
    position += -position % 4
    (length,) = _U32.unpack_from(buffer, position)
    end = position + 4 + length
    return buffer[position + 4 : end].decode(errors="replace"), end + 1


def _read_signature(buffer: bytes, position: int) -> "tuple[str, int]":
    end = position + 1 + buffer[position]
    return buffer[position + 1 : end].decode(errors="replace"), end + 1


def _read_variant(buffer: bytes, position: int) -> "tuple[Any, int]":
    signature, position = _read_signature(buffer, position)
    return _readers(signature)[0](buffer, position)


_SIMPLE: dict[str, Reader] = {
    "y": _number_reader("<B"),
    "b": _number_reader("<I"),
    "n": _number_reader("<h"),
    "q": _number_reader("<H"),
    "i": _number_reader("<i"),
    "u": _number_reader("<I"),
    "x": _number_reader("<q"),
    "t": _number_reader("<Q"),
    "d": _number_reader("<d"),
    "s": _read_string,
    "o": _read_string,
    "g": _read_signature,
    "v": _read_variant,
}
