"""What is known of one accessible object."""

from .atspi_names import SHOWING, VISIBLE


class Element:
    """Filled in as answers come; `box` is x, y, width and height in screen pixels, None when not on the screen."""

    __slots__ = (
        "actions",
        "attributes",
        "box",
        "child_count",
        "children",
        "description",
        "interfaces",
        "name",
        "path",
        "role",
        "states",
        "text",
        "value",
    )

    def __init__(self, path: str):
        self.path = path
        self.role = "unknown"
        self.name = ""
        self.description = ""
        self.states = 0
        self.interfaces: list[str] = []
        self.child_count = 0
        self.children: list[Element] = []
        self.box: tuple[int, int, int, int] | None = None
        self.text: str | None = None
        self.value: float | None = None
        self.actions: list[str] = []
        self.attributes: dict[str, str] = {}

    @property
    def showing(self) -> bool:
        return self.states & (SHOWING | VISIBLE) == SHOWING | VISIBLE
