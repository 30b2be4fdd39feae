"""Text for screens cannot steer them, and numbers are short."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from viewer.plain import amount, duration, money, plain, plain_lines, size


@given(st.text())
def test_no_text_can_steer_a_terminal(text: str) -> None:
    shown = plain(text) + plain_lines(text).replace("\n", "")

    assert not {unicodedata.category(char) for char in shown if char not in "\u200c\u200d"} & {"Cc", "Cf", "Cs", "Zl"}


def test_escape_sequences_and_direction_overrides_lose_what_makes_them_work() -> None:
    assert plain("\x1b[31mred\x1b]0;title\x07 \u202eabc") == "[31mred]0;title abc"


def test_accents_hangul_and_joined_emoji_stay() -> None:
    assert plain("é 한글 👩‍💻") == "é 한글 👩‍💻"


def test_line_breaks_become_spaces_or_stay_as_asked() -> None:
    assert plain("a\r\n\tb") == "a b"
    assert plain_lines("a  \nb\x00c") == "a\nbc"


def test_a_long_line_is_cut_to_the_limit() -> None:
    assert plain("abcdef", 4) == "abc…"
    assert plain("abcd", 4) == "abcd"


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0"), (999, "999"), (12_345, "12.3k"), (999_960, "1.0M"), (4_500_000, "4.5M")]
)
def test_amounts_are_short(number: int, words: str) -> None:
    assert amount(number) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.34, "340 ms"), (12.34, "12.3 s"), (245, "4:05 min"), (3599.9, "1:00:00 h"), (7445, "2:04:05 h")],
)
def test_durations_read_like_a_clock(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_money_tells_unknown_from_free() -> None:
    assert [money(None), money(0.0), money(0.0123), money(4.2)] == ["?", "free", "$0.0123", "$4.20"]


def test_sizes_have_units() -> None:
    assert [size(512), size(1536), size(3 * 2**30)] == ["512 B", "1.5 KiB", "3.0 GiB"]
