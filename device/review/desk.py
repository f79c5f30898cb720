"""The store as the touch page's server uses it: one connection, one thread."""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sqlite_utils import Database
from starlette.exceptions import HTTPException
from starlette.requests import Request

from config.errors import UserError
from config.recipes import Recipes, Stamp, Under, load_recipes, stamps_of
from config.settings import Settings
from device.loop.recipe_budget import recipes_spent
from device.models.models_in_use import classes_in_use, in_force
from device.review import people, queue
from device.review.alerts import alerts
from device.review.edition import edition_of
from device.review.guard import secret_key, session_of
from device.review.messages import Message, TakeBack, Tap
from device.review.pages import HeatMaps, question_page
from device.store.answers import Question, is_labelled, last_question, waiting
from device.store.database import exclusive, open_store_of
from device.store.shifts import labels_in_shift, shift_at
from device.store.swap import identity_of, is_mending
from device.store.trail import record_settings
from device.system.disk import missing_disk
from device.system.heap import give_back_memory

BUSY_TIMEOUT_MS = 1500
"""How long a request waits for a locked store before the page is told."""
CACHE_KB = 4 * 1024
"""Pages of the store kept in memory: the system keeps what is more than these."""
GIVE_BACK_S = 600.0
"""How often what lies free in the process goes back to the system: a new model for the heat maps
leaves pieces, and so does a large page."""
AHEAD = 2
"""Questions a page has at once: the one on the screen and the next, already loaded."""

T = TypeVar("T")


def budget_left(db: Database, settings: Settings) -> int | None:
    """Answers that may still be asked for in this shift; None: there is no limit."""
    most = settings.asking.labels_per_shift
    if not most:
        return None
    shift = shift_at(settings.review.shifts, time.time_ns())
    return max(0, most - labels_in_shift(db, shift))


def _moment(db: Database) -> tuple[int | None, ...]:
    """Numbers that change with whatever changes what waits."""
    return tuple(
        db.execute(
            "SELECT (SELECT max(id) FROM cycles), (SELECT max(id) FROM flags), "
            "(SELECT max(rowid) FROM labels), (SELECT max(rowid) FROM second_looks)"
        ).fetchone()
    )


class Desk:
    """The store, and the one thread that works on it."""

    def __init__(self, settings: Settings) -> None:
        """Open the store.

        Raises:
            UserError: it cannot be opened.
        """
        self.settings = settings
        self._open()
        record_settings(self._db, settings)
        self._recipes = Recipes(settings)
        self._stamps: list[Stamp] | None = None
        self._waits: list[Question] = []
        self._waits_at: tuple[int | None, ...] | None = None
        self._thread = ThreadPoolExecutor(1, "review-store")
        self._gave_back = time.monotonic()
        self.key = secret_key(self._db)
        self.heat = HeatMaps(settings.device.data)
        self.edition = edition_of(settings)

    def _open(self) -> None:
        before = identity_of(self.settings.device.data)
        self._db = open_store_of(self.settings)
        self._identity = before or identity_of(self.settings.device.data)
        self._db.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        self._db.execute(f"PRAGMA cache_size = -{CACHE_KB}")

    async def work(self, task: Callable[[Database], T]) -> T:
        """Do something with the store.

        Raises:
            HTTPException: 503, with what is wrong with the store as its detail.
        """
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, self._do, task)
        except sqlite3.DatabaseError as error:
            words = str(error)
            state = next((word for word in ("locked", "full") if word in words), "damaged")
            raise HTTPException(503, state) from None

    def _do(self, task: Callable[[Database], T]) -> T:
        try:
            self._follow_store()
            try:
                result = task(self._db)
            except sqlite3.IntegrityError:
                # A question that is remembered went meanwhile, to make room.
                self._db.conn.rollback()
                self._waits_at = None
                result = task(self._db)
            # An answer counts only where the store it went into is still the store: while a
            # damaged one is mended the page is told to come again with it.
            self._refuse_while_mending()
        except BaseException:
            self._waits_at = None  # what was seen in a transaction that came to nothing
            raise
        if time.monotonic() - self._gave_back > GIVE_BACK_S:
            give_back_memory()
            self._gave_back = time.monotonic()
        return result

    def _refuse_while_mending(self) -> None:
        data = self.settings.device.data
        if is_mending(data) or identity_of(data) != self._identity:
            raise HTTPException(503, "damaged")

    def _follow_store(self) -> None:
        """Open the store anew where another file took its place.

        Raises:
            HTTPException: 503, it is being mended, its disk is away, or it cannot be opened.
        """
        data = self.settings.device.data
        if not is_mending(data) and identity_of(data) == self._identity:
            return
        if is_mending(data) or missing_disk(self.settings):
            raise HTTPException(503, "damaged")
        self._db.close()
        self._waits_at = None
        try:
            self._open()
        except UserError:
            raise HTTPException(503, "damaged") from None

    @property
    def recipes(self) -> Recipes:
        """The recipes as their files are now."""
        stamps = stamps_of(self.settings)
        if stamps != self._stamps:
            self._recipes, self._stamps = load_recipes(self.settings), stamps
            self._waits_at = None
        return self._recipes

    def under(self, db: Database, patch_id: str) -> Under:
        """The recipe that a patch was asked about under; the site's, where it is no more."""
        question = last_question(db, patch_id)
        found = None if question is None else self.recipes.keyed(question.recipe)
        return found or self.recipes.under(None)

    def kinds(self, db: Database) -> dict[str, dict[str, list[str]]]:
        """Classes, and those that pass, by the name of their recipe."""
        return {
            under.name: {
                "classes": classes_in_use(db, under),
                "passing": under.settings.recipe.pass_classes,
            }
            for under in self.recipes.each()
        }

    def waits(self, db: Database) -> list[Question]:
        """What waits for an answer, ranked anew only where something has come since."""
        quotas, now = self.recipes.quotas, _moment(db)
        if now != self._waits_at:
            self._waits = waiting(db, quotas)
            self._waits_at = now
        return self._waits

    def _take_answered(self, db: Database, patch_id: str) -> None:
        """An answer takes one question away and leaves the ranks of the others."""
        if is_labelled(db, patch_id):
            self._waits = [q for q in self._waits if q.patch_id != patch_id]
        self._waits_at = _moment(db)

    async def person(self, request: Request) -> people.Person | None:
        """Who is at the browser that sent a request; None: nobody has logged in.

        Raises:
            HTTPException: 503.
        """
        cookie, review = session_of(request), self.settings.review
        return (await self.work(lambda db: people.visitor(db, review, cookie))).person

    async def supervisor(self, request: Request) -> people.Person:
        """The supervisor at the browser that sent a request.

        Raises:
            HTTPException: 403, no supervisor is there; 503.
        """
        person = await self.person(request)
        if person is None or not person.supervisor:
            raise HTTPException(403, "supervisor")
        return person

    def close(self) -> None:
        """Finish what was begun, then close the store."""
        self._thread.shutdown()
        self._db.close()

    def state(
        self, db: Database, message: Message, kept: Collection[str], operator: str
    ) -> dict[str, Any]:
        """What a page needs to go on: new questions, and how many wait."""
        share = self.settings.asking.repeat_share
        recipes = self.recipes
        quotas, waits = recipes.quotas, self.waits(db)
        if spent := recipes_spent(db, recipes):
            waits = [question for question in waits if question.recipe not in spent]
        left = budget_left(db, self.settings)
        fresh: list[Question] = []
        have = set(message.have) | set(kept)
        while len(kept) + len(fresh) < (AHEAD if left is None else min(AHEAD, left)):
            question = queue.claim_repeat(
                db, message.holder, operator, share, quotas, have
            ) or queue.claim_next(db, message.holder, quotas, have, waits)
            if question is None:
                break
            fresh.append(question)
            have.add(question.patch_id)
        kinds = self.kinds(db)
        each = recipes.each()
        return {
            "questions": [question_page(db, q, self.under(db, q.patch_id)) for q in fresh],
            "edition": self.edition,
            "waiting": len(waits),
            "budget_left": left,
            "alerts": alerts(self.settings),
            "undoable": queue.count_undoable(db, message.holder),
            "recipes": kinds,
            "names": {
                under.name: queue.new_names(db, under.key, kinds[under.name]["classes"])
                for under in each
            },
            "model": any(in_force(db, under.key).model_id is not None for under in each),
        }

    def questions(self, db: Database, cookie: str | None, message: Message) -> dict[str, Any]:
        """Prolong what a page has, and bring it what it lacks.

        Raises:
            HTTPException: 401, nobody is logged in.
        """
        person = people.visitor(db, self.settings.review, cookie).person
        if person is None:
            raise HTTPException(401, "login")
        with exclusive(db):
            kept = queue.renew(db, message.holder, message.have)
            return self.state(db, message, kept, person.name) | {
                "kept": kept,
                "operator": person.name,
            }

    def admit_as(self, db: Database, cookie: str | None, name: str) -> None:
        """Refuse what is said in the name of somebody else.

        A name without a PIN proves nothing in any case, and a tap of a colleague who has gone
        meanwhile must not be lost: it counts, as his.

        Raises:
            HTTPException: 401, nobody is logged in, or somebody else; 422, there is no such name.
        """
        review = self.settings.review
        present = people.visitor(db, review, cookie, active=True).person
        said = people.is_known(review, name)
        if said is None:
            raise HTTPException(422, "malformed")
        if present is None or (said != present and people.needs_pin(db, said)):
            raise HTTPException(401, "login")

    def answer(self, db: Database, cookie: str | None, tap: Tap) -> dict[str, Any]:
        """Store a tap, and bring the page a further question.

        Raises:
            HTTPException: as `admit_as`.
            UserError: there is no such patch.
        """
        outcome: queue.Outcome = "stored"
        with exclusive(db):
            self.admit_as(db, cookie, tap.operator)
            if tap.answer == "skip":
                queue.skip(db, tap.id, tap.patch, tap.holder)
            else:
                self.waits(db)
                outcome = queue.answer(
                    db, tap.id, tap.patch, tap.holder, tap.answer, tap.name, tap.operator
                )
                self._take_answered(db, tap.patch)
            return self.state(db, tap, tap.have, tap.operator) | {"outcome": outcome}

    def undo(self, db: Database, cookie: str | None, message: TakeBack) -> dict[str, Any]:
        """Take back the page's last answer, and bring its question again.

        Raises:
            HTTPException: as `admit_as`.
        """
        with exclusive(db):
            self.admit_as(db, cookie, message.operator)
            patch_id = queue.undo(db, message.id, message.holder, message.operator)
            have = [*message.have, *([patch_id] if patch_id else [])]
            # None: damage took it, and left the answer.
            question = last_question(db, patch_id) if patch_id else None
            shown = question and question_page(db, question, self.under(db, question.patch_id))
            return self.state(db, message, have, message.operator) | {"question": shown}
