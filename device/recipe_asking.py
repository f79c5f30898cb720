"""How many questions each recipe may ask, where its file says so: in a cycle, and in a shift.

The site's `labels_per_shift` counts all answers; that of a recipe counts those about its own parts
besides.
"""

import time

from sqlite_utils import Database

from config.recipes import Recipes, load_recipes, stamps_of
from config.settings import Asking, Settings
from device.shifts import labels_in_shift, shift_at
from device.store import Limits


class RecipeAsking:
    """What the recipes' files say; read again when one of them changes."""

    def __init__(self, site: Settings) -> None:
        self._site = site
        self._recipes = Recipes(site)
        self._stamps: object = None

    def _read(self) -> dict[str, Asking]:
        """The `[asking]` of every recipe of the folder."""
        stamps = stamps_of(self._site)
        if stamps != self._stamps:
            self._recipes, self._stamps = load_recipes(self._site), stamps
        return {name: settings.asking for name, settings in self._recipes.others.items()}

    def limits(self) -> dict[str, Limits]:
        """Questions of a cycle, by recipe."""
        return {name: Limits(one.k, one.cold_start) for name, one in self._read().items()}

    def spent(self, db: Database) -> list[str]:
        """The recipes of which enough was asked in this shift, what pages have before them too."""
        site = self._site
        own = {
            name: one.labels_per_shift
            for name, one in self._read().items()
            if one.labels_per_shift not in (0, site.asking.labels_per_shift)
        }
        if not own:
            return []
        shift = shift_at(site.review.shifts, time.time_ns())
        return [
            name
            for name, most in own.items()
            if labels_in_shift(db, shift, name) + _claimed(db, name) >= most
        ]


def _claimed(db: Database, recipe: str) -> int:
    row = db.execute(
        "SELECT count(DISTINCT c.patch_id) FROM claims c JOIN flags f ON f.patch_id = c.patch_id "
        "JOIN frames r ON r.id = f.frame_id WHERE r.recipe = ?",
        [recipe],
    ).fetchone()
    return int(row[0])


def patches_of(db: Database, recipes: list[str]) -> set[str]:
    """The patches of these recipes that are asked about in the present cycles."""
    marks = ", ".join("?" * len(recipes))
    return {
        patch_id
        for (patch_id,) in db.execute(
            "SELECT DISTINCT f.patch_id FROM flags f JOIN frames r ON r.id = f.frame_id "  # noqa: S608
            f"WHERE r.recipe IN ({marks}) "
            "AND f.cycle IN (SELECT max(id) FROM cycles GROUP BY recipe)",
            recipes,
        )
    }
