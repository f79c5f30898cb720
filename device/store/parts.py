"""Parts, their answers, and the recipe in force, as the store knows them."""

from typing import NamedTuple

from sqlite_utils import Database

from config.recipes import Recipes, Under
from device.store.database import exclusive
from device.store.trail import add_action
from device.system.clock import stamp


class Split(NamedTuple):
    """Where the time from the trigger to the result went, in milliseconds.

    The first four are of `Part.took_ms`; `answer` comes after them. Of a part of several frames
    the last three steps are those of its last frame, and what came before is in `grab`.
    """

    grab: float | None = None
    """Trigger to picture: recipe, `delay_s`, exposure, way over the wire."""
    prepare: float | None = None
    """Out of shared memory, quality gate, cut into patches."""
    infer: float | None = None
    """The network."""
    decide: float | None = None
    """From the patches to the part's answer."""
    answer: float | None = None
    """Until the PLC can read it; None: there is no PLC, or it could not be told at once."""


class Part(NamedTuple):
    """A triggered part and what was said of it."""

    number: int
    part: str
    lot: str
    tool: str
    recipe: str
    model_id: str
    verdict: str
    name: str
    """Class or fault of the picture; empty: neither."""
    code: int
    took_ms: float
    """From the trigger to the answer."""
    wall_ns: int
    monotonic_ns: int
    """When it was triggered."""
    split: Split = Split()


def add_part(db: Database, part: Part) -> None:
    """Record the answer of a part."""
    *facts, wall_ns, monotonic_ns, split = part
    db.execute(
        "INSERT INTO parts (number, part, lot, tool, recipe, model_id, verdict, class, code, "
        "took_ms, grab_ms, prepare_ms, infer_ms, decide_ms, answer_ms, "
        "wall_ns, monotonic_ns, boot_id, clock_ok) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [*facts, *split, *stamp(wall_ns, monotonic_ns)],
    )


class Numbered(NamedTuple):
    """A part and its place in the store."""

    id: int
    part: Part


def parts_after(db: Database, last: int, limit: int = 1000) -> list[Numbered]:
    """The parts after a place in the store, oldest first."""
    rows = db.execute(
        "SELECT id, number, part, lot, tool, recipe, model_id, verdict, class, code, took_ms, "
        "wall_ns, monotonic_ns, grab_ms, prepare_ms, infer_ms, decide_ms, answer_ms "
        "FROM parts WHERE id > ? ORDER BY id LIMIT ?",
        [last, limit],
    )
    return [
        Numbered(number, Part(*facts[:12])._replace(split=Split(*facts[12:])))
        for number, *facts in rows
    ]


def last_part(db: Database) -> int:
    """The place of the last part in the store; 0: there was none."""
    return int(db.execute("SELECT coalesce(max(id), 0) FROM parts").fetchone()[0])


# --- recipes --------------------------------------------------------------------------------


def choose_recipe(db: Database, recipe: str, who: str) -> None:
    """Make a recipe the one in force; recorded in the audit trail."""
    with db.atomic():
        db.execute(
            "INSERT INTO recipe_choices (recipe, who, wall_ns, monotonic_ns, boot_id, clock_ok) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            [recipe, who, *stamp()],
        )
        add_action(db, who, "selected recipe", recipe)


BY_PLC, BY_LINE = "machine/plc", "machine/line"
"""Who chose a recipe or began a lot, where it was the machine; no person can have such a name."""


def chosen_recipe(db: Database, *, people_only: bool = False) -> tuple[int, str | None]:
    """Number and recipe of the last choice; (0, None): nobody has chosen one yet."""
    row = db.execute(
        "SELECT id, recipe FROM recipe_choices WHERE NOT (? AND who LIKE 'machine/%') "
        "ORDER BY id DESC LIMIT 1",
        [people_only],
    ).fetchone()
    return (0, None) if row is None else (row[0], row[1])


def recipe_in_force(db: Database, recipes: Recipes) -> Under:
    """The recipe that was chosen last, or that of the settings file."""
    chosen = chosen_recipe(db)[1]
    found = next((under for under in recipes.each() if under.name == chosen), None)
    return found or recipes.under(None)


def record_recipe(db: Database, recipe: str, toml: str, who: str) -> bool:
    """Record what a recipe's file holds, where it is not what is recorded; '' is a removed file.

    The audit trail tells the lines that are new. True: it was a change.
    """
    with exclusive(db):
        row = db.execute(
            "SELECT toml FROM recipe_texts WHERE recipe = ? ORDER BY id DESC LIMIT 1", [recipe]
        ).fetchone()
        before = row[0] if row else ""
        if before == toml:
            return False
        db.execute(
            "INSERT INTO recipe_texts (recipe, toml, wall_ns, monotonic_ns, boot_id, clock_ok) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            [recipe, toml, *stamp()],
        )
        was = set(before.splitlines())
        lines = [line.strip() for line in toml.splitlines() if line not in was]
        new = "; ".join(line for line in lines if line)
        add_action(db, who, "changed recipe", f"{recipe}: {new or 'lines removed'}"[:1000])
    return True


def recorded_recipes(db: Database) -> list[str]:
    """Names of the recipes whose file was there when it was last looked at."""
    rows = db.execute(
        "SELECT recipe, toml, max(id) FROM recipe_texts GROUP BY recipe ORDER BY recipe"
    )
    return [recipe for recipe, toml, _ in rows if toml]
