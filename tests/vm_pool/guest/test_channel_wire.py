"""The frames of virtual machines' control channel: whole or not at all, whoever takes the port over."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vm_pool.guest.channel_wire import (
    CLOCK,
    CREDIT,
    DATA,
    HELLO,
    LONGEST_PAYLOAD,
    RESYNC,
    WINDOW,
    Decoder,
    Frame,
    clock,
    clock_of,
    credit,
    credit_of,
    encode,
)

FRAMES = st.builds(Frame, st.integers(HELLO, CLOCK), st.integers(0, 2**32 - 1), st.binary(max_size=200))
LONGEST = Frame(DATA, 7, b"\xff" * LONGEST_PAYLOAD)


def decoded(decoder: Decoder, data: bytes, size: int) -> list[Frame]:
    pieces = (data[start : start + size] for start in range(0, len(data), size))
    return [frame for piece in pieces for frame in decoder.feed(piece)]


@given(st.lists(FRAMES, max_size=6), st.integers(1, 300))
def test_frames_come_back_however_the_bytes_are_cut(frames, size):
    decoder = Decoder()
    assert decoded(decoder, b"".join(map(encode, frames)), size) == frames
    assert decoder.damaged == 0


@given(st.lists(FRAMES, min_size=1, max_size=4), st.data(), st.lists(FRAMES, max_size=3))
def test_a_frame_that_was_cut_off_is_dropped_and_the_next_session_is_whole(before, data, after):
    stream = b"".join(map(encode, before))
    cut = data.draw(st.integers(0, len(stream)))
    seen = decoded(Decoder(), stream[:cut] + RESYNC + b"".join(map(encode, after)), 4096)
    whole = decoded(Decoder(), stream[:cut], 4096)
    assert seen == [*whole, *after]
    assert whole == before[: len(whole)]


@pytest.mark.parametrize("cut", [1, 9, 10, 1000, LONGEST_PAYLOAD, LONGEST_PAYLOAD + 12])
def test_the_longest_frame_can_be_cut_off_anywhere(cut):
    hello = Frame(HELLO, 0, b"again")
    assert decoded(Decoder(), encode(LONGEST)[:cut] + RESYNC + encode(hello), 1 << 18) == [hello]


@given(st.binary(max_size=2000), st.integers(1, 500))
def test_nonsense_neither_breaks_the_decoder_nor_fills_it(data, size):
    decoder = Decoder()
    for frame in decoded(decoder, data, size):
        assert len(frame.payload) <= LONGEST_PAYLOAD
    assert len(decoder._held) <= len(RESYNC)


@given(st.integers(0, WINDOW))
def test_a_credit_says_how_many_bytes(size):
    assert credit_of(credit(3, size)) == size


@given(st.floats(0, 4e9))
def test_a_clock_says_the_time(seconds):
    assert clock_of(clock(seconds)) == seconds


@pytest.mark.parametrize("payload", [b"", b"\0", b"\xff\xff\xff\xff", b"12345"])
def test_a_credit_of_nonsense_is_refused(payload):
    with pytest.raises(ValueError, match="credit"):
        credit_of(Frame(CREDIT, 1, payload))
