"""The settings written out: as a commented TOML file and as a page of the docs."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from config.meaning import meanings
from config.settings import Settings

PRIVATE = "pass|pwd|token|auth|secret|key|cred"
"""Found in the name of a parameter of an address whose value is for nobody's eyes."""


def toml_value(value: Any) -> str:
    """A settings value as TOML."""
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value).removesuffix(".0")  # repr: a float comes back as the same float
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(k)} = {toml_value(v)}" for k, v in value.items()) + " }"
    # JSON escapes a string as TOML does, but for DEL.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(key: str) -> str:
    """A key as TOML: bare where it may be, else in quotes."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else toml_value(key)


def tables(section: BaseModel, path: str = "") -> Iterator[tuple[str, BaseModel]]:
    """Every table of the settings with its dotted name, outer tables first."""
    if path:
        yield path, section
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from tables(value, f"{path}.{name}" if path else name)


def to_toml(settings: Settings, *, comments: bool = True) -> str:
    """The whole settings file, every key with its meaning above it; unset keys commented out."""
    lines = ["# Settings of one millsight device. Check with: millsight config check"]
    for name, section in tables(settings):
        doc = " ".join((type(section).__doc__ or "").split())
        lines += ["", f"[{name}]"] if not comments else ["", f"[{name}]  # {doc}"]
        for key in type(section).model_fields:
            value = getattr(section, key)
            if isinstance(value, BaseModel):
                continue
            if comments:
                lines += [f"# {line}" for line in meanings(type(section))[key].splitlines()]
            lines.append(
                f"# {key} = (not set)" if value is None else f"{key} = {toml_value(value)}"
            )
    return "\n".join(lines) + "\n"


def to_markdown() -> str:
    """`docs/settings.md`: a table of keys, defaults and meanings for every TOML table."""
    lines = [
        "# Settings",
        "",
        "One TOML file per site. Written with its comments by `millsight config init`, checked by",
        "`millsight config check`. This page is made by `make docs` from `config/settings.py`.",
    ]
    for name, section in tables(Settings()):
        doc = " ".join((type(section).__doc__ or "").split())
        lines += ["", f"## `[{name}]`", "", doc, "", "| key | default | meaning |", "|---|---|---|"]
        for key in type(section).model_fields:
            value = getattr(section, key)
            if isinstance(value, BaseModel):
                continue
            default = "" if value is None else f"`{toml_value(value)}`"
            meaning = " ".join(meanings(type(section))[key].split()).replace("|", "\\|")
            lines.append(f"| `{key}` | {default} | {meaning} |")
    return "\n".join(lines) + "\n"


def write_new(path: Path, text: str) -> None:
    """Write a file that must not exist yet.

    Raises:
        FileExistsError: it exists.
        OSError: the folder cannot be written.
    """
    with path.open("x", encoding="utf-8") as stream:
        stream.write(text)


def without_passwords(toml: str) -> str:
    """Settings without what the address of a camera may hold in front of its host or behind `?`."""
    text = re.sub(r"(://)[^/\s\"']*@", r"\1***@", toml)
    return re.sub(rf"([?&][\w.-]*(?:{PRIVATE})[\w.-]*=)[^&\s\"']+", r"\1***", text, flags=re.I)
