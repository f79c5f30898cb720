"""`millsight recipe`: the recipes of this site, and which of them is in force."""

import difflib
import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from cyclopts import App

from config.cli import Config, Who
from config.document import toml_value
from config.errors import UserError
from config.load import load_settings
from config.recipes import Recipes, load_recipes, overlay, recipe_path, refuse_twins
from config.settings import Settings

app = App(name="recipe", help="The recipes of this site: list, add, edit, copy, select.")

EMPTY = """# A recipe of millsight, laid over the settings of the site. Check: millsight recipe list
# It may hold [recipe], which replaces the site's, what [asking] and [camera] shall have else, and
# its own golden folder: [trainer] golden = "golden/bracket" (relative to this file).
# Every key: millsight config show, docs/settings.md.

[recipe]
# By which a PLC selects this recipe; 0: it cannot.
index = {index}
# Numbers of the parts that are judged by it.
parts = {parts}
# All classes, in the order of the network's outputs.
classes = {classes}
# Every class is OK or NG.
pass_classes = {pass_classes}
fail_classes = {fail_classes}
regions = {regions}
"""


@app.command(name="list")
def list_recipes(config: Config = None) -> None:
    """List the recipes: index, name, model, parts; * is the one in force.

    Parameters
    ----------
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    """
    from device.models.models_in_use import in_force  # noqa: PLC0415
    from device.store.database import open_store_of  # noqa: PLC0415
    from device.store.parts import recipe_in_force  # noqa: PLC0415

    site = load_settings(config)
    recipes = load_recipes(site)
    db = open_store_of(site)
    name = recipe_in_force(db, recipes).name
    for one in recipes.each():
        recipe = one.settings.recipe
        model = in_force(db, one.key).model_id
        parts = ", ".join(recipe.parts) or ("none" if recipes.by_part else "any")
        print(
            f"{'*' if one.name == name else ' '} {recipe.index or '-':>5} {one.name}, "
            f"model {model[:12] if model else 'none yet'}, "
            f"OK: {', '.join(recipe.pass_classes) or 'none'}; parts: {parts}"
        )
    db.close()
    if recipes.errors:
        raise UserError("\n".join(recipes.errors))


@app.command
def add(name: str, config: Config = None, *, operator: Who) -> None:
    """Add a recipe: a commented file with the classes of the site, to be edited.

    Parameters
    ----------
    name
        Name of the recipe, and of its file.
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    operator
        Who adds it, for the audit trail.
    """
    site = load_settings(config)
    recipes = load_recipes(site)
    _refuse_known(recipes, name)
    recipe = site.recipe
    fails = [c for c in recipe.classes if c not in recipe.pass_classes]
    text = EMPTY.format(
        index=_free_index(recipes),
        parts="[]",
        classes=toml_value(recipe.classes),
        pass_classes=toml_value(recipe.pass_classes),
        fail_classes=toml_value(fails),
        regions=toml_value(recipe.regions),
    )
    path = _save(site, name, text, operator)
    print(f"wrote {path}; its channel: millsight trainer keys renew --offline FOLDER")


@app.command
def copy(recipe: str, name: str, config: Config = None, *, operator: Who) -> None:
    """Copy a recipe; the copy has another index, and no parts.

    Parameters
    ----------
    recipe
        The recipe to copy.
    name
        Name of the copy.
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    operator
        Who copies it, for the audit trail.
    """
    site = load_settings(config)
    recipes = load_recipes(site)
    _refuse_known(recipes, name)
    if not recipes.under(recipe).key:
        raise UserError(f"{recipe}: is the recipe of the settings file; use: millsight recipe add")
    lines = recipes.texts[recipe].splitlines()
    own = {"name", "index", "parts"}
    kept = [line for line in lines if line.split("=")[0].strip() not in own]
    at = next((i for i, line in enumerate(kept) if line.strip() == "[recipe]"), None)
    if at is None:
        raise UserError(f"{recipe}: its file has no [recipe] line; copy it by hand")
    kept[at + 1 : at + 1] = [f"index = {_free_index(recipes)}", "parts = []"]
    text = "\n".join(kept) + "\n"
    print(f"wrote {_save(site, name, text, operator)}")


@app.command
def edit(name: str, config: Config = None, *, operator: Who) -> None:
    """Edit a recipe in $EDITOR; while it is open, Trigger Ready is low and parts are NG.

    What has a mistake is not taken; the old recipe stays, and beside it what was written, as
    NAME.toml.draft.

    Parameters
    ----------
    name
        The recipe.
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    operator
        Who edits it, for the audit trail.
    """
    from device.store.editing import editing  # noqa: PLC0415

    site = load_settings(config)
    path = recipe_path(site, name)
    if not path.is_file():
        raise UserError(f"{path}: no such recipe; make it with: millsight recipe add")
    editor = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "nano")
    if not editor or shutil.which(editor[0]) is None:
        raise UserError("no editor: set $EDITOR to one")
    before = path.read_text(encoding="utf-8")
    with editing(site.device.data), tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / path.name
        draft.write_text(before, encoding="utf-8")
        if subprocess.run([*editor, str(draft)], check=False).returncode:
            raise UserError(f"{editor[0]}: ended with an error; nothing was changed")
        after = draft.read_text(encoding="utf-8")
        if after == before:
            print("nothing was changed")
            return
        try:
            _save(site, name, after, operator, before)
        except (UserError, OSError) as error:
            raise UserError(f"{error}\n{_keep_draft(path, after)}") from None
    changed = difflib.ndiff(before.splitlines(), after.splitlines())
    print("\n".join(line for line in changed if line[:2] in {"+ ", "- "}))


@app.command
def select(name: str, config: Config = None, *, operator: Who) -> None:
    """Bring a recipe into force; a running loop takes it up at once.

    Parameters
    ----------
    name
        The recipe.
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    operator
        Who selects it, for the audit trail.
    """
    from device.store.database import open_store_of  # noqa: PLC0415
    from device.store.parts import choose_recipe  # noqa: PLC0415

    site = load_settings(config)
    load_recipes(site).under(name)
    db = open_store_of(site)
    choose_recipe(db, name, operator)
    db.close()
    print(f"{name} in force")


def _keep_draft(path: Path, text: str) -> str:
    """Keep what somebody wrote and could not be taken; where it is."""
    from device.system.durable import write_durably  # noqa: PLC0415

    place = path.with_name(f"{path.name}.draft")
    try:
        write_durably(place, text.encode())
    except OSError:  # a full disk: perhaps the terminal can be scrolled back
        return f"{place}: cannot be written either; what you wrote:\n{text}"
    return f"what you wrote is kept: {place}"


def _refuse_known(recipes: Recipes, name: str) -> None:
    if name in recipes.all() or name in recipes.texts:
        raise UserError(f"{name}: there is such a recipe already; choose another name")


def _free_index(recipes: Recipes) -> int:
    taken = {s.recipe.index for s in recipes.all().values()}
    return next(i for i in range(1, 65536) if i not in taken)


def _save(site: Settings, name: str, text: str, operator: str, before: str | None = None) -> Path:
    """Check a recipe's text, write its file whole, and record who changed what.

    Raises:
        UserError: it has a mistake, cannot be written, or is no more what it was `before`.
    """
    from device.store.database import open_store_of  # noqa: PLC0415
    from device.store.parts import record_recipe  # noqa: PLC0415
    from device.system.durable import write_durably  # noqa: PLC0415

    path = recipe_path(site, name)
    if before is not None and path.read_text(encoding="utf-8") != before:
        raise UserError(f"{path}: was changed by somebody else meanwhile")
    found = overlay(site, text, path)
    others = [s for n, s in load_recipes(site).all().items() if n != name]
    refuse_twins(others, found, path)
    db = open_store_of(site)
    record_recipe(db, name, text, operator)  # before the loop sees the file: it tells who
    try:
        write_durably(path, text.encode())
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        db.close()
    return path
