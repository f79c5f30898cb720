"""What all settings are made of: the section, and the words shared by several of them."""

from typing import Annotated
from unicodedata import category

from pydantic import AfterValidator, BaseModel, ConfigDict
from pydantic_core import PydanticCustomError

PATCH_SIZE = 200
"""Side of a patch in pixels: the network's input (Table 1)."""

MAP_STEP = 32
"""Pixels between two cells of the network's last feature maps, all its strides together: patches
whose distance is a multiple of it can share them."""

LONGEST_NAME = 64


def is_name(words: str) -> bool:
    """Whether words are safe in a file name, in a URL and on a page."""
    return (
        0 < len(words) <= LONGEST_NAME
        and words[0] not in " .+-"
        and all(c in " .+-" or _is_letter_or_digit(c) for c in words)
    )


def _is_letter_or_digit(c: str) -> bool:
    """Letters, their marks, digits and _ of every script."""
    kind = category(c)
    return kind[0] in "LM" or kind in {"Nd", "Nl", "Pc"}


def _named(words: str) -> str:
    if not is_name(words):
        raise PydanticCustomError(
            "name", "1 to 64 letters, digits, blanks and _ . + -, a letter, digit or _ first"
        )
    return words


# Not by a pattern of Pydantic: each use would compile it anew, with all letters of the world.
Name = Annotated[str, AfterValidator(_named)]
"""A name that is safe in a file name, in a URL and on a page."""


class Section(BaseModel):
    """A table of the settings file. Unknown keys are refused, values cannot change later.

    Types are strict, as they are in TOML: neither "5" nor true is a number. A section that is the
    default of a key is made by `model_construct`: only so is no validator built for each section
    besides that of the whole, which takes longer than all else of reading the settings.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)
