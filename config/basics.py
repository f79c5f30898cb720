"""What all settings are made of: the section, and the words shared by several of them."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

PATCH_SIZE = 200
"""Side of a patch in pixels: the network's input (Table 1)."""

Name = Annotated[str, StringConstraints(pattern=r"^[\w][\w .+-]{0,63}$")]
"""A name that is safe in a file name, in a URL and on a page."""


class Section(BaseModel):
    """A table of the settings file. Unknown keys are refused, values cannot change later.

    Types are strict, as they are in TOML: neither "5" nor true is a number. A section that is the
    default of a key is made by `model_construct`: only so is no validator built for each section
    besides that of the whole, which takes longer than all else of reading the settings.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)
