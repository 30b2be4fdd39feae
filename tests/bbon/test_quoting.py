import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from bbon.quoting import one_line, quoted


@given(st.text(max_size=500))
def test_foreign_text_stays_on_one_line_without_brackets_or_hidden_characters(text: str) -> None:
    line = one_line(text, 100)
    assert len(line) <= 100
    assert not set("<>\n\r\x00\u202e\u2028") & set(line)
    assert all(unicodedata.category(c) not in {"Cc", "Zl", "Zp", "Cs"} for c in line)


@given(st.text(max_size=100))
def test_a_quotation_ends_only_at_its_end(text: str) -> None:
    assert quoted(text).count('"') == 2


def test_long_text_keeps_beginning_and_end_and_counts_the_rest() -> None:
    line = one_line("a" * 500 + "z", 100)
    assert line.startswith("aaa")
    assert line.endswith("z")
    assert "more characters" in line


def test_line_ends_stay_visible() -> None:
    assert one_line("a\r\n  b\n\nc\n") == "a ⏎ b ⏎ c"


def test_accents_hangul_and_emoji_survive() -> None:
    assert one_line("é 한글 👩‍💻") == "é 한글 👩‍💻"
