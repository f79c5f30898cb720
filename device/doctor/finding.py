"""What a check looks at, and what it finds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from config.settings import Settings

Level = Literal["ok", "warning", "fault"]


@dataclass(frozen=True, slots=True)
class Box:
    """What the checks look at."""

    file: Path
    """The settings file, whether it is there or not."""
    settings: Settings
    """The settings in force; where the file is broken, the defaults."""
    error: str = ""
    """What is wrong with the settings file, a line per mistake; empty: nothing."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor."""

    level: Level
    text: str
    """What is so, or what is wrong."""
    mend: str = ""
    """How to mend it; empty where nothing is wrong."""

    @classmethod
    def ok(cls, text: str) -> "Finding":
        """Nothing is wrong."""
        return cls("ok", text)

    @classmethod
    def warning(cls, text: str, mend: str) -> "Finding":
        """It works, but not for ever, or not as well as it could."""
        return cls("warning", text, mend)

    @classmethod
    def fault(cls, text: str, mend: str) -> "Finding":
        """Something does not work."""
        return cls("fault", text, mend)
