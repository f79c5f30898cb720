"""The `labels_per_shift` of a recipe: answers about its own parts, beside the site's, which counts
all."""

import time

from sqlite_utils import Database

from config.recipes import Recipes
from device.store.shifts import labels_in_shift, shift_at
from device.system.clock import stamp


def recipes_spent(db: Database, recipes: Recipes) -> set[str]:
    """The recipes of which enough was asked in this shift, what pages have before them too.

    By their keys in the store. The site's own budget is no recipe's
    (`device.store.shifts.budget_left`).
    """
    site = recipes.site
    own = {
        one.name: one.settings.asking.labels_per_shift
        for one in recipes.each()
        if one.key and one.settings.asking.labels_per_shift not in (0, site.asking.labels_per_shift)
    }
    if not own:
        return set()
    shift = shift_at(site.review.shifts, time.time_ns())
    return {
        name
        for name, most in own.items()
        if labels_in_shift(db, shift, name) + _claimed(db, name) >= most
    }


def _claimed(db: Database, recipe: str) -> int:
    """Its questions on somebody's screen; a page that was closed has none any more."""
    now = stamp()
    row = db.execute(
        "SELECT count(DISTINCT c.patch_id) FROM claims c JOIN flags f ON f.patch_id = c.patch_id "
        "JOIN frames r ON r.id = f.frame_id "
        "WHERE r.recipe = ? AND c.boot_id = ? AND c.expires_ns > ?",
        [recipe, now.boot_id, now.monotonic_ns],
    ).fetchone()
    return int(row[0])
