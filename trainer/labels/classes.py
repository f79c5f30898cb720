"""The classes of tonight's model: the recipe's, and those that operators have named since.

An answer `something new: NAME` is a label of the class NAME as soon as there is one. A name becomes
a class once enough patches have it, and stays one while any patch has it; classes that were in the
model in use keep their places. Names that differ in capitals and blanks only are one.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass

from sqlite_utils import Database

from config.settings import Recipe
from device.store.answers import SOMETHING_NEW

LAST_ANSWERS = """
    SELECT p.id, p.device, p.x, p.y, p.width, p.height, p.png, l.answer, l.class, l.id AS label_id
    FROM patches p JOIN labels l ON l.rowid =
        (SELECT max(rowid) FROM labels WHERE patch_id = p.id AND NOT repeat)
    WHERE l.answer IN ('class', 'something new') AND EXISTS (
        SELECT 1 FROM flags f JOIN frames r ON r.id = f.frame_id
        WHERE f.patch_id = p.id AND r.recipe = :recipe)
"""
"""The patches of a recipe whose last answer names what they show."""


@dataclass(frozen=True, slots=True)
class Classes:
    """Tonight's classes."""

    names: list[str]
    """In the order of the outputs: the recipe's first."""
    grown: list[str]
    """Those that the model in use does not have."""
    gone: list[str]
    """Those that only the model in use has."""
    named: dict[str, int]
    """New names with too few patches yet, and how many they have."""


def spelling(name: str) -> str:
    """What names that mean the same have in common."""
    return " ".join(name.replace("_", " ").split()).casefold()


def place_of(name: str, classes: list[str]) -> str | None:
    """The class that a name means, or None."""
    same = spelling(name)
    return next((known for known in classes if spelling(known) == same), None)


def classes_of_tonight(
    db: Database, recipe: Recipe, in_use: list[str] | None, least: int
) -> Classes:
    """The recipe's classes, then those of the model in use, then new names with `least` patches."""
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    said_new: Counter[str] = Counter()
    rows = db.execute(
        f"SELECT answer, class, count(*) FROM ({LAST_ANSWERS}) GROUP BY 1, 2",  # noqa: S608
        {"recipe": recipe.name},
    )
    for answer, name, count in rows:
        if name and (answer == SOMETHING_NEW or name not in recipe.classes):
            spellings[spelling(name)][name] += count
            said_new[spelling(name)] += count * (answer == SOMETHING_NEW)
    patches = {same: sum(names.values()) for same, names in spellings.items()}
    names = list(recipe.classes)
    for name in in_use or []:
        if place_of(name, names) is None and patches.get(spelling(name)):
            names.append(name)
    named = {}
    for same, count in sorted(patches.items(), key=lambda item: (-item[1], item[0])):
        if place_of(same, names) is not None:
            continue
        name = spellings[same].most_common(1)[0][0]
        if not said_new[same]:
            continue  # a class that has left the recipe: somebody has decided so
        if count >= least:
            names.append(name)
        else:
            named[name] = count
    before = in_use or recipe.classes
    return Classes(
        names,
        [name for name in names if name not in before],
        [name for name in before if name not in names],
        named,
    )
