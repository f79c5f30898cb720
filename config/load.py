"""From a TOML file to `Settings`, or to one clear line per mistake."""

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from config.errors import UserError
from config.settings import Settings

ENVIRONMENT = "MILLSIGHT_CONFIG"
SITE_FILE = Path("/etc/millsight/millsight.toml")


def find_settings(path: Path | None = None) -> Path:
    """The settings file in force: the one given, `$MILLSIGHT_CONFIG`, `./millsight.toml`, site's.

    Raises:
        UserError: the file given does not exist, or none was found.
    """
    named = path or (Path(os.environ[ENVIRONMENT]) if os.environ.get(ENVIRONMENT) else None)
    if named is not None:
        if named.is_file():
            return named
        raise UserError(f"{named}: no such settings file; make one with: millsight config init")
    for candidate in (Path("millsight.toml"), SITE_FILE):
        if candidate.is_file():
            return candidate
    raise UserError(
        f"no settings file: looked for ./millsight.toml and {SITE_FILE}; "
        "make one with: millsight config init"
    )


def load_settings(path: Path | None = None) -> Settings:
    """Read the settings in force; relative paths in the file start at the file's folder.

    Raises:
        UserError: no file, not TOML, or mistakes: a line for each, with file, key, what was
            found and what is allowed.
    """
    file = find_settings(path)
    try:
        with file.open("rb") as stream:
            data = tomllib.load(stream)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: not valid TOML: {error}") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from None
    return parse_settings(data, file)


def parse_settings(data: Mapping[str, Any], file: Path) -> Settings:
    """Validate settings already parsed from `file`, whose folder anchors relative paths.

    Raises:
        UserError: a line for each mistake.
    """
    try:
        settings = Settings.model_validate(data)
    except ValidationError as error:
        errors = error.errors()
        keys = [_key(e) for e in errors]
        # A mistake inside a union is also reported for the branches that were not meant.
        meant = [
            e
            for e, k in zip(errors, keys, strict=True)
            if not any(other.startswith(f"{k}.") for other in keys)
        ]
        raise UserError("\n".join(f"{file}: {explain(e)}" for e in meant)) from None
    base = file.parent
    device = settings.device.model_copy(update={"data": base / settings.device.data})
    camera = settings.camera
    if camera.folder.path is not None:
        folder = camera.folder.model_copy(update={"path": base / camera.folder.path})
        camera = camera.model_copy(update={"folder": folder})
    return settings.model_copy(update={"device": device, "camera": camera})


def explain(error: ErrorDetails) -> str:
    """One line for one mistake pydantic found: key, what was found, what is allowed."""
    key = _key(error)
    if error["type"] == "extra_forbidden":
        *above, wrong = error["loc"]
        known = list(_model_at(above).model_fields)
        near = difflib.get_close_matches(str(wrong), known, n=1, cutoff=0.4)
        advice = f"did you mean {near[0]!r}?" if near else "known keys: " + ", ".join(known)
        return f"{key}: unknown key; {advice}"
    if error["type"] == "missing":
        return f"{key}: missing"
    message = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    found = error["input"]
    shown = "a table" if isinstance(found, Mapping) else repr(found)
    if not key:
        return message
    meaning = _meaning(error["loc"])
    allowed = message if error["type"] == "value_error" else f"allowed is {message}"
    return f"{key}: found {shown}; {allowed}" + (f" ({meaning})" if meaning else "")


def _key(error: ErrorDetails) -> str:
    return ".".join(str(part) for part in error["loc"] if not _is_branch(part))


def _is_branch(part: int | str) -> bool:
    """Whether pydantic put this part into a location for a union's branch, not for a key."""
    return isinstance(part, str) and ("[" in part or part.startswith(("constrained", "literal")))


def _model_at(location: list[int | str] | tuple[int | str, ...]) -> type[BaseModel]:
    model: type[BaseModel] = Settings
    for part in location:
        if isinstance(part, str) and part in model.model_fields:
            model = next(iter(models_in(model.model_fields[part].annotation)), model)
    return model


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The settings tables that stand anywhere in a type annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from models_in(inner)


def _meaning(location: tuple[int | str, ...]) -> str:
    model: type[BaseModel] = Settings
    meaning = ""
    for part in location:
        if isinstance(part, str) and part in model.model_fields:
            field = model.model_fields[part]
            meaning = " ".join((field.description or "").split())
            model = next(iter(models_in(field.annotation)), model)
    return meaning
