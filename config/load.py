"""From a TOML file to `Settings`, or to one clear line per mistake."""

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from config.errors import UserError
from config.meaning import meanings
from config.settings import Exchange, Settings

ENVIRONMENT = "MILLSIGHT_CONFIG"
SITE_FILE = Path("/etc/millsight/millsight.toml")


def find_settings(path: Path | None = None) -> Path:
    """The settings file in force: the one given, `$MILLSIGHT_CONFIG`, `./millsight.toml`, site's.

    Raises:
        UserError: the file given does not exist, or none was found.
    """
    variable = os.environ.get(ENVIRONMENT)
    named = path or (Path(variable) if variable else None)
    if named is not None:
        if named.is_file():
            return named
        by = "" if path else f" (named by ${ENVIRONMENT})"
        raise UserError(f"{named}: no such settings file{by}; make one with: millsight config init")
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


def load_what_is_good(path: Path | None, *tables: str) -> tuple[Settings, str]:
    """The settings in force, or of broken ones these tables alone; and what is broken, or ''.

    Raises:
        UserError: no file, not TOML, or none of these tables is good.
    """
    try:
        return load_settings(path), ""
    except UserError as error:
        broken = str(error)
    file = find_settings(path)
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(broken) from None
    for count in range(len(tables), 0, -1):
        some = {name: data[name] for name in tables[:count] if name in data}
        try:
            return parse_settings(some, file), broken
        except UserError:
            continue
    raise UserError(broken)


def parse_settings(data: Mapping[str, Any], file: Path) -> Settings:
    """Validate settings already parsed from `file`, whose folder anchors relative paths.

    Raises:
        UserError: a line for each mistake.
    """
    try:
        settings = Settings.model_validate(data)
    except ValidationError as error:
        raise UserError(explain_all(error, file)) from None
    base = file.parent.absolute()
    device = settings.device
    folders = {"data": base / device.data, "recipes": base / device.recipes}
    device = device.model_copy(update=folders)
    if device.live is not None:
        device = device.model_copy(update={"live": base / device.live})
    if device.must_be_mount is not None:
        device = device.model_copy(update={"must_be_mount": base / device.must_be_mount})
    backup = settings.backup
    if backup.folder is not None:
        backup = backup.model_copy(update={"folder": base / backup.folder})
    trainer = settings.trainer.model_copy(update={"data": device.data / settings.trainer.data})
    exchange = anchored(settings.exchange, base, device.data)
    if trainer.golden is not None:
        trainer = trainer.model_copy(update={"golden": base / trainer.golden})
    update = settings.update
    if update.root is not None:
        update = update.model_copy(update={"root": base / update.root})
    camera = settings.camera
    if camera.folder.path is not None:
        folder = camera.folder.model_copy(update={"path": base / camera.folder.path})
        camera = camera.model_copy(update={"folder": folder})
    if not (camera.opencv.is_url or camera.opencv.is_device):
        video = camera.opencv.model_copy(update={"address": str(base / camera.opencv.address)})
        camera = camera.model_copy(update={"opencv": video})
    if camera.gentl.producer is not None:
        gentl = camera.gentl.model_copy(update={"producer": base / camera.gentl.producer})
        camera = camera.model_copy(update={"gentl": gentl})
    return settings.model_copy(
        update={
            "device": device,
            "backup": backup,
            "camera": camera,
            "trainer": trainer,
            "exchange": exchange,
            "update": update,
        }
    )


def anchored(exchange: Exchange, base: Path, data: Path) -> Exchange:
    """The exchange with absolute paths: its files from `base`, a folder of its own from `data`."""
    changes: dict[str, Any] = {
        name: base / path
        for name in ("s3_credentials", "sftp_key", "sftp_known_hosts")
        if (path := getattr(exchange, name)) is not None
    }
    if exchange.is_folder:
        changes["url"] = str(data / exchange.url.removeprefix("file://"))
    return exchange.model_copy(update=changes)


def explain_all(error: ValidationError, file: Path) -> str:
    """A line for each mistake that was found in a file."""
    found: dict[str, list[ErrorDetails]] = {}
    for details in error.errors():
        found.setdefault(_key(details), []).append(details)
    # A mistake inside a union is also reported for the branches that were not meant.
    meant = [
        errors
        for key, errors in found.items()
        if not any(other.startswith(f"{key}.") for other in found)
    ]
    return "\n".join(f"{file}: {explain(errors)}" for errors in meant)


def explain(errors: Sequence[ErrorDetails]) -> str:
    """One line for one mistake: key, what was found, what is allowed.

    Pydantic tells of a mistake in a union once for each of its branches, all with the same key.
    """
    error = errors[0]
    key = _key(error)
    if error["type"] == "extra_forbidden":
        *above, wrong = error["loc"]
        known = list(_model_at(above).model_fields)
        near = difflib.get_close_matches(str(wrong), known, n=1)
        advice = f"did you mean {near[0]!r}?" if near else "known keys: " + ", ".join(known)
        return f"{key}: unknown key; {advice}"
    if error["type"] == "missing":
        return f"{key}: missing"
    if error["type"] == "value_error":  # of a whole table; its text names the key inside
        said = error["msg"].removeprefix("Value error, ")
        return f"{key}: {said}" if key else said
    found = error["input"]
    shown = "a table" if isinstance(found, Mapping) else repr(found)
    shown = shown.lower() if isinstance(found, bool) else shown
    allowed = " or ".join(dict.fromkeys(_allowed(e) for e in errors))
    meaning = _meaning(error["loc"])
    return f"{key}: found {shown}; allowed is {allowed}" + (f" ({meaning})" if meaning else "")


def _allowed(error: ErrorDetails) -> str:
    """What a value should have been, in the words of TOML."""
    limits = error.get("ctx", {})
    words = {
        "bool_type": "true or false",
        "float_type": "a number",
        "int_from_float": "a whole number",
        "int_type": "a whole number",
        "list_type": "a list",
        "model_type": "a table",
        "path_type": "a path in quotes",
        "string_pattern_mismatch": "1 to 64 letters, digits, blanks and _ . + -, "
        "a letter, digit or _ first",
        "string_too_short": "a text that is not empty",
        "string_type": "a text in quotes",
        "too_long": f"a list of at most {limits.get('max_length')}",
        "too_short": f"a list of at least {limits.get('min_length')}",
    }
    return words.get(error["type"], error["msg"].removeprefix("Input should be "))


def _key(error: ErrorDetails) -> str:
    """The dotted key, as it would stand in TOML: a part that is no bare key in quotes."""
    parts = [str(part) for part in error["loc"] if not _is_branch(part)]
    return ".".join(p if re.fullmatch(r"[\w-]+", p) else json.dumps(p) for p in parts)


def _is_branch(part: int | str) -> bool:
    """Whether pydantic put this part into a location for a union's branch, not for a key."""
    return isinstance(part, str) and part.startswith(("list[", "literal["))


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
            meaning = " ".join(meanings(model).get(part, "").split())
            model = next(iter(models_in(field.annotation)), model)
    return meaning
