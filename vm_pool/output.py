"""Output of commands and words of guests, cut to a limit."""


def keep_ends(text: str, limit: int) -> str:
    """At most `limit` bytes of text, from its beginning and its end, with a line between that says how much is gone."""
    data = text.encode()
    if len(data) <= limit:
        return text
    head, tail = limit - limit // 2, limit // 2
    end = data[-tail:] if tail else b""
    gap = f"\n[{len(data) - limit} bytes left out]\n"
    return data[:head].decode(errors="replace") + gap + end.decode(errors="replace")


def one_line(text: str, limit: int = 300) -> str:
    """Printable and at most `limit` characters, whatever a guest said."""
    printable = "".join(character if character.isprintable() else " " for character in text[: 2 * limit])
    return " ".join(printable.split())[:limit]
