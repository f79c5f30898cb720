"""What the touch page says: one TOML file per language, every file with the same keys."""

import tomllib
from functools import cache
from pathlib import Path

from config.errors import UserError

LANGUAGES = Path(__file__).parent / "languages"


@cache
def languages() -> dict[str, dict[str, str]]:
    """The texts of every language by its code, English first."""
    files = sorted(LANGUAGES.glob("*.toml"), key=lambda path: (path.stem != "en", path.stem))
    return {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in files}


def class_word(name: str, t: dict[str, str]) -> str:
    """A class in the words of a language; one that the language does not know has its own name."""
    return t.get(f"class-{name}", name.replace("_", " "))


def texts(language: str) -> dict[str, str]:
    """The texts of a language.

    Raises:
        UserError: there is no such language.
    """
    if language not in languages():
        raise UserError(
            f"review.language: {language}: not spoken here; known: {', '.join(languages())}"
        )
    return languages()[language]
