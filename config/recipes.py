"""Recipes: one TOML file for each kind of part, laid over the settings of the site.

The recipe of the settings file is one of them. A file may hold `[recipe]`, which replaces the
site's, `[asking]` and `[camera]`, of which it changes the keys it names, and of `[trainer]` its own
`golden`.
"""

import contextlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import ValidationError

from config.basics import is_name
from config.errors import UserError
from config.load import explain_all
from config.settings import Settings

OVERLAID = ("recipe", "asking", "camera", "trainer")
SUFFIX = ".toml"
FEATURES = frozenset({"exposure_us", "gain_db"})
CAMERA: Mapping[str, frozenset[str] | None] = {
    "quality": None,
    "scan": None,
    "light": frozenset({"intensity_percent"}),
    "genicam": FEATURES,
    "gentl": FEATURES,
    "vmc220": frozenset({"light_percent"}),
}
"""What of the camera a recipe may change, for it changes while the camera runs; None: all of it."""


@dataclass(frozen=True, slots=True)
class Under:
    """The settings of the site under one of its recipes."""

    settings: Settings
    key: str = ""
    """How a device's store knows the recipe: '' for that of the settings file, else its name."""

    @property
    def name(self) -> str:
        """Name of the recipe."""
        return self.settings.recipe.name


@dataclass(frozen=True)
class Recipes:
    """The recipes of a site."""

    site: Settings
    """The settings of the site, with its own recipe."""
    others: Mapping[str, Settings] = field(default_factory=dict)
    """The settings under each recipe of the folder, by its name."""
    errors: tuple[str, ...] = ()
    """What is wrong with the files that were left out, a line each."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """What each file holds, by the name of its recipe, those with mistakes among them."""

    def named(self, name: str) -> Settings | None:
        """The settings under a recipe."""
        return self.site if name == self.site.recipe.name else self.others.get(name)

    def all(self) -> dict[str, Settings]:
        """All of them, the site's first."""
        return {self.site.recipe.name: self.site, **self.others}

    def each(self) -> list[Under]:
        """All of them, the site's first, with the keys of the store."""
        return [Under(self.site), *(Under(s, name) for name, s in self.others.items())]

    def keyed(self, key: str) -> Under | None:
        """The one that a device's store knows by this key; None: it is no more."""
        return next((one for one in self.each() if one.key == key), None)

    def under(self, name: str | None) -> Under:
        """The one of this name; None: that of the settings file.

        Raises:
            UserError: there is none, or its file has a mistake.
        """
        found = next((one for one in self.each() if name in {None, one.name}), None)
        if found is None:
            mistakes = [error for error in self.errors if f"{name}{SUFFIX}" in error]
            known = ", ".join(self.all())
            raise UserError("\n".join(mistakes) or f"{name}: no recipe; known: {known}")
        return found

    def told(self, key: str) -> str:
        """The name of the recipe of a key, for people; empty where there is only one."""
        return (key or self.site.recipe.name) if self.several or key else ""

    @property
    def several(self) -> bool:
        """Whether there is more than the recipe of the settings file."""
        return bool(self.others)

    @property
    def quotas(self) -> dict[str, tuple[int, int]]:
        """`asking.k` and `asking.cold_start` by the keys of the store."""
        return {o.key: (o.settings.asking.k, o.settings.asking.cold_start) for o in self.each()}

    def of_index(self, index: int) -> Settings | None:
        """The one that a PLC selects by this index, from 1."""
        return next((s for s in self.all().values() if s.recipe.index == index != 0), None)

    def of_part(self, part: str) -> Settings | None:
        """The one that judges a part number."""
        return next((s for s in self.all().values() if part in s.recipe.parts), None)

    @property
    def by_part(self) -> bool:
        """Whether parts choose their recipe: once any recipe names some."""
        return any(s.recipe.parts for s in self.all().values())


def recipe_path(site: Settings, name: str) -> Path:
    """The file of a recipe.

    Raises:
        UserError: the name cannot be one of a file.
    """
    if not is_name(name):
        raise UserError(
            f"{name!r}: no name for a recipe; 1 to 64 letters, digits, blanks and _ . + -, "
            "a letter, digit or _ first"
        )
    return site.device.recipes / f"{name}{SUFFIX}"


def overlay(site: Settings, text: str, file: Path) -> Settings:
    """The settings of the site under a recipe, from the text of its file.

    Raises:
        UserError: a line for each mistake.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{file}: not valid TOML: {error}") from None
    if unknown := [key for key in data if key not in OVERLAID]:
        raise UserError(
            f"{file}: {unknown[0]}: not of a recipe; a recipe has {', '.join(OVERLAID)}"
        )
    name = file.name.removesuffix(SUFFIX)
    recipe = data.get("recipe", {})
    if isinstance(recipe, dict) and recipe.setdefault("name", name) != name:
        raise UserError(
            f"{file}: recipe.name: found {recipe['name']!r}, and the file is of {name!r}; "
            "name both alike"
        )
    _check_camera(site, data.get("camera", {}), file)
    under: dict[str, Any] = site.model_dump()
    under["recipe"] = recipe
    for key in ("asking", "camera"):
        _merge(under[key], data.get(key, {}))
    under["trainer"]["golden"] = _own_golden(data.get("trainer", {}), file)
    try:
        return Settings.model_validate(under)
    except ValidationError as error:
        raise UserError(explain_all(error, file)) from None


def _check_camera(site: Settings, changes: Any, file: Path) -> None:
    """Refuse what cannot be changed while the camera runs, or could not be set back.

    Raises:
        UserError: the key is named.
    """
    for table, keys in changes.items() if isinstance(changes, dict) else ():
        allowed = CAMERA.get(table, frozenset())
        for key in keys if isinstance(keys, dict) else [""]:
            name = f"camera.{table}.{key}".rstrip(".")
            if allowed is not None and key not in allowed:
                known = ", ".join(
                    f"camera.{t}.{k}" for t, ks in CAMERA.items() for k in sorted(ks or {"*"})
                )
                raise UserError(f"{file}: {name}: a recipe cannot change it; it can: {known}")
            if key in FEATURES and getattr(getattr(site.camera, table), key) is None:
                raise UserError(
                    f"{file}: {name}: the settings of the site leave it to the camera; set it "
                    "there too, so that it can be set back"
                )


def _own_golden(trainer: Any, file: Path) -> Any:
    """The golden folder of a recipe, relative to its file: that of the site shows another part.

    Raises:
        UserError: `[trainer]` holds something else, for a night is one for all recipes.
    """
    if not isinstance(trainer, dict):
        raise UserError(f"{file}: trainer: found {trainer!r}; allowed is a table with `golden`")
    if unknown := [key for key in trainer if key != "golden"]:
        raise UserError(
            f"{file}: trainer.{unknown[0]}: not of a recipe; of [trainer] a recipe has golden, the "
            "rest stands in the settings file"
        )
    golden = trainer.get("golden")
    return file.parent.absolute() / golden if isinstance(golden, str) else golden


def _merge(into: dict[str, Any], changes: Any) -> None:
    """Lay a table over another, in depth."""
    for key, value in changes.items() if isinstance(changes, dict) else ():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def load_recipes(site: Settings) -> Recipes:
    """Every recipe of the site; a file with a mistake is left out, and said so in `errors`."""
    others: dict[str, Settings] = {}
    errors: list[str] = []
    texts: dict[str, str] = {}
    for path in recipe_files(site):
        try:
            text = path.read_text(encoding="utf-8")
            texts[path.name.removesuffix(SUFFIX)] = text
            found = overlay(site, text, path)
            refuse_twins([site, *others.values()], found, path)
        except UserError as error:
            errors.append(str(error))
        except (OSError, UnicodeDecodeError) as error:
            errors.append(f"{path}: cannot be read: {error}")
        else:
            others[found.recipe.name] = found
    return Recipes(site, others, tuple(errors), texts)


def recipe_files(site: Settings) -> list[Path]:
    """The files of the folder, by name."""
    folder = site.device.recipes
    return sorted(
        (p for p in folder.glob(f"*{SUFFIX}") if p.is_file()),
        key=lambda p: p.name.removesuffix(SUFFIX),
    )


Stamp: TypeAlias = tuple[str, int, int]
"""Name, time and size of a file."""


def stamps_of(site: Settings) -> list[Stamp]:
    """What changes whenever a file of the folder does."""
    found = []
    for path in recipe_files(site):
        with contextlib.suppress(OSError):  # removed just now
            facts = path.stat()
            found.append((path.name, facts.st_mtime_ns, facts.st_size))
    return found


def refuse_twins(known: list[Settings], new: Settings, path: Path) -> None:
    """Refuse a recipe whose name, index or part another one has.

    Raises:
        UserError: the other one is named.
    """
    for other in known:
        if other.recipe.name == new.recipe.name:
            raise UserError(f"{path}: recipe {other.recipe.name!r} is there already; rename it")
        if new.recipe.index and new.recipe.index == other.recipe.index:
            raise UserError(
                f"{path}: recipe.index {new.recipe.index} is that of {other.recipe.name!r}; "
                "give it another"
            )
        if twice := set(new.recipe.parts) & set(other.recipe.parts):
            raise UserError(
                f"{path}: recipe.parts: {min(twice)!r} is a part of {other.recipe.name!r} too"
            )
