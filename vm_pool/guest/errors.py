"""What a request handler raises to answer with a refusal."""


class Refused(Exception):
    """The request cannot be done as asked; nothing of it was done. The message is one line for the caller."""

    def __init__(self, message: str, *, status: int = 400, kind: str = "refused"):
        super().__init__(message)
        self.status = status
        self.kind = kind


def not_found(message: str) -> Refused:
    return Refused(message, status=404, kind="not_found")
