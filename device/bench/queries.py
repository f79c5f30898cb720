"""What the touch pages read from the store, at 1,000,000 patches against 1,000.

Timed: the queue (ranking what waits, and the first two questions as the page is told them) and the
Today page with all its cards, nothing remembered from before. Yardstick: the same on a store with
1,000 patches, which are the last day of the large one. Both by processor time, for both stores have
been read before, as in the middle of a shift. `--cache` names the folder they are kept in for a
week. With --quick the large one has 20,000.

The Today page looks back over bounded spans (the last 2,000 spot checks, 60 cycles, 48 hours of
scores), which 1,000 patches do not fill. So further rows hold the large store against one of 20,000
patches, which fills them: what is left of the growth there comes from the size of the store.
"""

import sys
from collections import OrderedDict
from collections.abc import Callable
from functools import partial

from sqlite_utils import Database
from starlette.datastructures import QueryParams

from config.recipes import Recipes
from config.settings import Settings
from device.bench.months import Months, filled
from device.bench.row import NO_AIM, Inputs, Row, pairs, per_call, row_of
from device.review.cards import room_in
from device.review.desk import AHEAD, CACHE_KB
from device.review.layout import arrange, panel_mm
from device.review.pages import question_page
from device.review.texts import texts
from device.review.today import cards_of, classes_of
from device.review.view import read_view
from device.store.answers import waiting
from device.store.database import open_store

LARGE, LARGE_QUICK, SMALL = 1_000_000, 20_000, 1000
LEAST_S = 0.2


def measure(inputs: Inputs) -> list[Row]:
    """Milliseconds of the queue and of the Today page."""
    patches = LARGE_QUICK if inputs.quick else LARGE
    if patches > LARGE_QUICK:
        print(f"a store of {patches:,} patches is made where there is none", file=sys.stderr)
    stores = {
        count: filled(inputs.cache, inputs.settings, inputs.model_file, count)
        for count in (SMALL, LARGE_QUICK, patches)
    }
    opened = {count: open_filled(store) for count, store in stores.items()}
    rows = []
    for page, read in (("queue", queue), ("Today page", today)):
        took = {
            count: partial(_milliseconds, partial(read, db, inputs.settings, stores[count]))
            for count, db in opened.items()
        }
        name = f"{page}, {patches:,} patches"
        for count, aim in ((SMALL, "≤ 3"), (LARGE_QUICK, NO_AIM)):
            if count != patches:
                found = pairs(inputs.runs, took[count], took[patches])
                rows.append(row_of(name, "ms", f"{count:,} patches", aim, *found))
    for db in opened.values():
        db.close()
    return rows


def open_filled(store: Months) -> Database:
    """A store as the touch pages open it."""
    db = open_store(store.folder)
    db.execute(f"PRAGMA cache_size = -{CACHE_KB}")  # as `device.review.desk`
    return db


def _milliseconds(read: Callable[[], object]) -> float:
    return 1000 * per_call(read, LEAST_S)


def queue(db: Database, settings: Settings, _store: Months) -> int:
    """Rank the questions that wait, and tell a page of the first ones; how many wait."""
    recipes = Recipes(settings)
    found = waiting(db, recipes.quotas)
    for question in found[:AHEAD]:
        question_page(db, question, recipes.each()[0])
    return len(found)


def today(db: Database, settings: Settings, store: Months) -> int:
    """Draw every card of the Today page as of the store's last moment; how many there are."""
    recipes = Recipes(settings)
    view = read_view(QueryParams(), settings, classes_of(recipes), store.now_ns)
    layout = arrange(*panel_mm(settings.review), answers=len(settings.recipe.classes), frame=False)
    size = room_in(layout.cards[0])
    return len(cards_of(db, recipes, view, size, texts("en"), OrderedDict()))
