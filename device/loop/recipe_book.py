"""The recipes on hand in the running loop: each with its regions, model and questions, loaded.

Changing the recipe is then a look-up; nothing is read from the disk for it.
"""

import sqlite3
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlite_utils import Database

from camera.source import Event
from config.errors import UserError
from config.recipes import Recipes, Stamp, load_recipes, stamps_of
from config.settings import Recipe, Settings
from device.drift.watch import Watch
from device.judging.model import Model
from device.judging.patches import Cutter
from device.loop.asking import Asker
from device.loop.swap_model import ModelLoader
from device.models.activation import check_recipe
from device.models.models_in_use import InForce, in_force
from device.models.race import variant_of
from device.store.cycles import start_cycle
from device.store.database import STORE_FILE, exclusive, explain_errors, get_state, set_state
from device.store.parts import chosen_recipe, record_recipe, recorded_recipes
from device.store.trail import user_name
from device.upkeep.mend_model import mend_model

NOTHING = InForce(0, None, 0, "", "")


@dataclass(eq=False)
class Loaded:
    """A recipe with all that the loop judges by."""

    settings: Settings
    key: str
    """'' for the recipe of the settings file, else its name: how the store knows it."""
    cutter: Cutter
    asker: Asker
    loader: ModelLoader
    watch: Watch
    """Gathers what drift is told by."""
    model: Model | None = None
    now: InForce = NOTHING
    bins: Counter[tuple[int, int]] = field(default_factory=Counter)
    """Patches by predicted class and bin of their score, not yet put down to an hour."""

    @property
    def name(self) -> str:
        """Name of the recipe."""
        return self.settings.recipe.name


class RecipeBook:
    """All recipes of the site, and which of them is in force."""

    def __init__(self, site: Settings, event: Callable[[Event], None]) -> None:
        self._site = site
        self._event = event
        self._lock = threading.Lock()
        self._recipes = Recipes(site)
        self._loaded: dict[str, Loaded] = {}
        self._stamps: list[Stamp] | None = None
        """Of the files that were taken up."""
        self._read: list[Stamp] | None = None
        """Of those that were read last: a full disk may keep them from being taken up."""
        self._said: set[Event] = set()
        """What was said of them."""
        self._version = -1
        self._choice = -1  # the store was not looked at yet
        self._name = site.recipe.name
        self._again = False
        self.missing: str | None = None
        """A recipe that was chosen and is not there."""

    @property
    def now(self) -> Loaded:
        """The recipe in force."""
        with self._lock:
            return self._loaded.get(self._name) or self._loaded[self._site.recipe.name]

    def named(self, name: str) -> Loaded | None:
        """A recipe by its name."""
        with self._lock:
            return self._loaded.get(name)

    def all(self) -> list[Loaded]:
        """All of them."""
        with self._lock:
            return list(self._loaded.values())

    def wanted(self, index: int, part: str) -> Loaded | None:
        """The recipe for a part: by the PLC's index, by part number, or else the one in force.

        None: there is none for it.
        """
        recipes = self._recipes
        if index:
            found = recipes.of_index(index)
        elif part and recipes.by_part:
            found = recipes.of_part(part)
        else:
            return None if self.missing else self.now
        return None if found is None else self.named(found.recipe.name)

    def switch(self, name: str) -> bool:
        """Bring a recipe into force, from any thread; False: it is in force already."""
        with self._lock:
            if name == self._name or name not in self._loaded:
                return False
            self._name, self.missing = name, None
            return True

    def patterns(self) -> list[str]:
        """What lines of the machine look like: by the recipe in force, then by the others."""
        ordered = [self.now, *self.all()]
        found = [one.settings.recipe.line_pattern for one in ordered]
        return list(dict.fromkeys(pattern for pattern in found if pattern))

    def follow(self, db: Database) -> bool:
        """Take up what files and store say of recipes, models and cycles; whether all may be new.

        Raises:
            UserError: the store cannot be read.
        """
        version = int(db.execute("PRAGMA data_version").fetchone()[0])
        stamps = stamps_of(self._site)
        if version == self._version and stamps == self._stamps:
            return False
        with explain_errors(self._site.device.data / STORE_FILE):
            if stamps != self._read:
                self._read, self._said = stamps, set()
            if stamps != self._stamps:
                self._read_files(db)
            first = self._version == -1
            ready = [self._follow_one(db, one, wait=first) for one in self.all()]
            self._follow_choice(db)
        self._stamps = stamps
        look_again = not all(ready) or self._again  # at a model on its way
        self._again = False
        self._version = -2 if look_again else version
        return True

    def _read_files(self, db: Database) -> None:
        recipes = load_recipes(self._site)
        for error in recipes.errors:
            self._say(Event("recipe-refused", error))
        who = user_name()
        try:
            with explain_errors(self._site.device.data / STORE_FILE):
                for name, text in recipes.texts.items():
                    record_recipe(db, name, text, who)
                for name in set(recorded_recipes(db)) - set(recipes.texts):
                    record_recipe(db, name, "", who)
        except UserError as error:
            self._say(Event("store", str(error)))
        loaded = {}
        for under in recipes.each():
            name, settings, key = under.name, under.settings, under.key
            old = self.named(name)
            if old is not None and old.settings == settings:
                loaded[name] = old
                continue
            try:
                _refuse_mixed_pictures(db, settings.recipe)
            except UserError as error:
                if not key:
                    raise
                self._say(Event("recipe-refused", str(error)))
                if old is not None:
                    loaded[name] = old
                continue
            cycle = in_force(db, key).cycle or _first_cycle(db, key)
            model = None if old is None else _still_fits(old.model, settings.recipe)
            classes = [] if model is None else model.metadata.classes
            watch = Watch(settings.drift, settings.recipe)
            loader = ModelLoader(settings)
            one = Loaded(
                settings, key, Cutter(settings.recipe), Asker(settings, db, cycle, classes),
                loader, watch, model,
            )  # fmt: skip
            if old is not None and model is not None:  # until it is loaded anew
                one.now = old.now._replace(activation=0)
                watch.follow(one.now.part, model.id, classes)
            loaded[name] = one
        with self._lock:
            gone = [one for name, one in self._loaded.items() if loaded.get(name) is not one]
            self._recipes, self._loaded = recipes, loaded
            chosen = self.missing or self._name
            lost = chosen not in loaded and self.missing is None
            self._name, self.missing = (chosen, None) if chosen in loaded else (self._name, chosen)
        if lost:
            text = (
                f"recipe {chosen!r} was in force and is not there; mend its file, or select another"
            )
            self._event(Event("recipe-refused", text))
        for one in gone:
            one.loader.close()

    def _say(self, event: Event) -> None:
        """Say what is wrong with recipes, once for each state of their files."""
        if event not in self._said:
            self._said.add(event)
            self._event(event)

    def close(self) -> None:
        """End the threads that load models."""
        for one in self.all():
            one.loader.close()

    def _follow_one(self, db: Database, one: Loaded, *, wait: bool) -> bool:
        """Take up model and cycle of a recipe together; False: its model is still on its way."""
        now = in_force(db, one.key)
        taken = False
        if now.activation != one.now.activation and now.model_id is not None:
            one.loader.want(now.activation, now.model_id, variant_of(db, now.model_id))
            model = one.loader.get(wait=wait)
            if model is None:
                one.now = one.now._replace(part=now.part, lot=now.lot)
                return False
            if isinstance(model, UserError):
                # The running model stays; without one the cold start goes on.
                self._event(Event("model-refused", str(model)))
                self._mend_model(db, one, now.model_id)
                if wait and self._again:  # at the start: before the first plate is judged
                    self._again = False
                    return self._follow_one(db, one, wait=True)
            else:
                taken = True
                one.model = model.with_thresholds(one.settings.recipe.thresholds)
                where = f" for recipe {one.name}" if one.key else ""
                form = "" if model.variant == "float32" else f", its {model.variant} form"
                self._event(Event("model", f"{model.id[:12]} in use{where}{form}"))
        one.now = now if not self._again else now._replace(activation=0)
        classes = [] if one.model is None else one.model.metadata.classes
        one.watch.follow(now.part, "" if one.model is None else one.model.id, classes)
        if now.cycle != one.asker.cycle or taken:
            one.asker = Asker(one.settings, db, now.cycle, classes)
        return True

    def _mend_model(self, db: Database, one: Loaded, model_id: str) -> None:
        """Take up a copy of a damaged file, or the model before it, at the next look."""
        try:
            event = mend_model(db, self._site, model_id, one.key)
        except (OSError, sqlite3.Error) as error:
            event = Event("store", f"model {model_id[:12]} cannot be mended: {error}")
        if event is None:  # whole, but not for this recipe
            return
        self._event(event)
        if event.kind == "model-mended":
            one.loader.forget()
            self._again = True

    def reopen(self, db: Database) -> None:
        """Go on with another store: the one before was damaged, or a copy was brought back."""
        for one in self.all():
            cycle = in_force(db, one.key).cycle or _first_cycle(db, one.key)
            classes = [] if one.model is None else one.model.metadata.classes
            one.asker = Asker(one.settings, db, cycle, classes)
            one.now = one.now._replace(activation=0)
            one.loader.forget()
        self._version, self._choice = -2, -1

    def _follow_choice(self, db: Database) -> None:
        # What the machine chose is in force already; it counts after a restart only.
        number, name = chosen_recipe(db, people_only=self._choice >= 0)
        if number <= self._choice:
            return
        self._choice = number
        if name is None:
            return
        if self.named(name) is None:
            self.missing = name
            text = f"recipe {name!r} was selected and is not there; select another"
            self._event(Event("recipe-refused", text))
        else:
            self.switch(name)
            self.missing = None


def _still_fits(model: Model | None, recipe: Recipe) -> Model | None:
    """The model in use with the recipe's thresholds, where it is one for a changed recipe, too."""
    if model is None:
        return None
    try:
        check_recipe(model.metadata, recipe, model.id)
    except UserError:
        return None
    return model.with_thresholds(recipe.thresholds)


def _refuse_mixed_pictures(db: Database, recipe: Recipe) -> None:
    """Refuse a recipe that would keep levelled pictures beside plain ones.

    Raises:
        UserError: the recipe has kept pictures of the other kind.
    """
    ever: list[str] = get_state(db, "shared_maps") or []
    if not recipe.shared_maps and recipe.name not in ever:
        return
    row = db.execute(
        "SELECT flags.variant IS 'shared' FROM flags JOIN frames ON frames.id = flags.frame_id "
        "WHERE frames.recipe = ? ORDER BY flags.id DESC LIMIT 1",
        [recipe.name],
    ).fetchone()
    if row is not None and bool(row[0]) != recipe.shared_maps:
        was = str(not recipe.shared_maps).lower()
        raise UserError(
            f"recipe {recipe.name!r} has kept pictures with shared_maps = {was}; others would not "
            "be alike: set it back, or give the recipe another name"
        )
    if recipe.shared_maps and recipe.name not in ever:
        with exclusive(db):
            set_state(db, "shared_maps", [*ever, recipe.name])


def _first_cycle(db: Database, key: str) -> int:
    start_cycle(db, "first use", key)
    db.conn.commit()
    return in_force(db, key).cycle
