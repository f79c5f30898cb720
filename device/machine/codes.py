"""Why a part has no verdict of its own: the error codes a PLC sees."""

from enum import IntEnum


class Code(IntEnum):
    """Error code of an answer; every code but `NONE` comes with NG."""

    NONE = 0
    CAMERA = 1
    PICTURE = 2
    SIZE = 3
    NO_MODEL = 4
    NO_RECIPE = 5
    DEADLINE = 6
    NOT_READY = 7
    EDITING = 8
    BAD_LINE = 9
    RESTARTED = 10
    REPEATED = 11
    STOPPED = 12
    LIGHT = 13


MEANING = {
    Code.NONE: "no error",
    Code.CAMERA: "the camera is lost or gave no picture",
    Code.PICTURE: "the picture cannot be judged: dark, bright, empty, blurred, frozen, …",
    Code.SIZE: "the picture has another size than the recipe demands",
    Code.NO_MODEL: "the recipe has no model yet (cold start)",
    Code.NO_RECIPE: "no recipe for this index or part number",
    Code.DEADLINE: "no verdict within `machine.deadline_s`",
    Code.NOT_READY: "triggered while the part before was not yet answered or acknowledged",
    Code.EDITING: "somebody is editing a recipe",
    Code.BAD_LINE: "the machine's line was garbled, or none came for this part",
    Code.RESTARTED: "the trigger was already up when millsight started: trigger again",
    Code.REPEATED: "the trigger number is that of the part before: count up, or leave it at 0",
    Code.STOPPED: "the inspection loop is not running",
    Code.LIGHT: "the ring light does not answer",
}
"""What each code means, for the docs, the pages and the audit."""


def as_markdown() -> str:
    """The codes as a table of the docs."""
    rows = [f"| {int(code)} | {meaning} |" for code, meaning in MEANING.items()]
    return "\n".join(["| code | meaning |", "|---|---|", *rows])
