"""The store: one SQLite file for everything that must not be lost.

Plain functions over a `Database`. Every connection is WAL with synchronous=FULL: what a function
here has returned from is on the disk. A connection is used by one thread at a time.
"""

import getpass
import hashlib
import json
import os
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from sqlite_utils import Database

from config.document import to_toml
from config.errors import UserError
from config.recipes import Under
from config.settings import Settings
from device import swap_store
from device.alike import fingerprint
from device.answers_log import log_answer
from device.clock import stamp
from device.model import Model
from device.schema import migrations
from device.second_look import is_doubted, open_doubts
from device.swap_store import finish_swap, identity_of, is_mending

STORE_FILE = swap_store.STORE_FILE
BUSY_TIMEOUT_S = 30.0
NEW_PRAGMA = "auto_vacuum = INCREMENTAL"
"""Of a new store: room can be given back without a rewrite."""
PRAGMAS = (
    "journal_mode = WAL",
    "synchronous = FULL",
    "foreign_keys = ON",
    "journal_size_limit = 33554432",  # a log that grew once need not stay large
)


def open_store(folder: Path) -> Database:
    """Open the store in a data folder, made where missing, and bring its tables up to date.

    Raises:
        UserError: the folder cannot be written, the file is no database or is damaged, the
            disk is full, or a newer millsight made it.
    """
    path = folder / STORE_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder}: the data folder cannot be made: {error.strerror}; "
            "set device.data to a folder this user can write"
        ) from None
    refuse_while_mending(folder)
    with explain_errors(path):
        finish_swap(folder)  # that a power cut interrupted
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
        try:
            is_new = not path.stat().st_size
            for pragma in (NEW_PRAGMA, *PRAGMAS) if is_new else PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")
            db = Database(connection)
            _refuse_newer(db, path)
            if migrations.pending(db):
                with exclusive(db):  # two programs may start at once
                    migrations.apply(db)
                    if not db.execute("SELECT 1 FROM cycles").fetchone():
                        start_cycle(db, "first start")
        except BaseException:
            connection.close()
            raise
    return db


def refuse_while_mending(folder: Path) -> None:
    """Refuse to use a store that is being mended: what is written now would not be in the new one.

    Raises:
        UserError: it is.
    """
    if is_mending(folder):
        raise UserError(
            f"{folder / STORE_FILE}: it was damaged and is being mended; wait until it is"
        )


@contextmanager
def staying_the_store(folder: Path) -> Iterator[None]:
    """Make sure that what is done to a store before is in the store afterwards.

    Raises:
        UserError: it was taken for damaged meanwhile, and another one is or comes in its place; do
            it again.
    """
    before = identity_of(folder)
    refuse_while_mending(folder)
    yield
    refuse_while_mending(folder)
    if identity_of(folder) != before:
        raise UserError(f"{folder / STORE_FILE}: was replaced meanwhile; do it again")


ADVICE = {
    "locked": "another program holds it; stop that, then start again",
    "full": "the disk is full; free some space, what is stored is safe",
    "readonly": "this user may not write there; mend the owner of the data folder",
    "unable to open": "this user may not write there; mend the owner of the data folder",
    "disk I/O": "the disk failed or is full; check it, what is stored is safe",
    "malformed": "the database is damaged; put it aside and restore a backup",
    "not a database": "the database is damaged; put it aside and restore a backup",
}
"""What to do about what SQLite says, by a part of its message."""


def advice_for(error: sqlite3.DatabaseError) -> str | None:
    """What to do about an error of SQLite; None: it is no fault of disk, rights or file."""
    return next((advice for part, advice in ADVICE.items() if part in str(error)), None)


@contextmanager
def explain_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite says of a file into one line that says what to do."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if (advice := advice_for(error)) is None:
            raise
        raise UserError(f"{path}: {error}: {advice}") from None


@contextmanager
def exclusive(db: Database) -> Iterator[None]:
    """A transaction that no other writer can come between, from its first read on."""
    if db.conn.in_transaction:
        with db.atomic():
            yield
        return
    db.conn.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.conn.execute("COMMIT")
    except BaseException:
        db.rollback()
        raise


def _refuse_newer(db: Database, path: Path) -> None:
    known = {migration.name for migration in migrations._migrations}
    if newer := [m.name for m in migrations.applied(db) if m.name not in known]:
        raise UserError(
            f"{path}: made by a newer millsight ({newer[0]}): update this program, or name "
            "another folder as device.data; nothing was changed"
        )


# --- models ---------------------------------------------------------------------------------


def add_model(db: Database, model: Model, latency_ms: float | None = None) -> None:
    """Record a model and its baselines; recording it again changes nothing.

    `latency_ms` is the time of one patch on this device, in milliseconds.
    """
    metadata = model.metadata
    with db.atomic():
        db.execute(
            "INSERT OR IGNORE INTO models VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                model.id,
                model.size,
                metadata.model_dump_json(exclude_defaults=True),
                *stamp(),
                latency_ms,
            ],
        )
        for index, name in enumerate(metadata.classes):
            pdc = metadata.baselines[index]
            db.execute(
                "INSERT OR IGNORE INTO baselines VALUES (?, ?, ?, ?, ?, ?)",
                [
                    model.id,
                    index,
                    name,
                    metadata.baseline_counts[index],
                    None if pdc is None else json.dumps(pdc),
                    metadata.thresholds[index],
                ],
            )


def record_activation(db: Database, model_id: str, reason: str, recipe: str = "") -> None:
    """Make a recorded model the one in use; the cycle of questions begins anew with it.

    `recipe` is '' for that of the settings file, else its name.
    """
    with db.atomic():
        db.execute(
            "INSERT INTO activations (model_id, reason, recipe, wall_ns, monotonic_ns, boot_id, "
            "clock_ok) VALUES (?, ?, ?, ?, ?, ?, ?)",
            [model_id, reason, recipe, *stamp()],
        )
        start_cycle(db, f"model {model_id[:12]}: {reason}", recipe)


class InForce(NamedTuple):
    """What the loop must follow."""

    activation: int
    """Number of the last activation, 0 before the first."""
    model_id: str | None
    cycle: int
    part: str
    """Number of the part in work; empty: none was named."""
    lot: str


def in_force(db: Database, recipe: str = "") -> InForce:
    """The model in use, the present cycle, and the lot in work.

    `recipe` is '' for that of the settings file, else its name. A recipe that was never in use
    has cycle 0.
    """
    row = db.execute(
        "SELECT a.id, a.model_id, c.id, l.part, l.lot "
        "FROM (SELECT max(id) AS id FROM cycles WHERE recipe = ?) c LEFT JOIN activations a "
        "ON a.id = (SELECT max(id) FROM activations WHERE recipe = ?) "
        "LEFT JOIN lots l ON l.id = (SELECT max(id) FROM lots)",
        [recipe, recipe],
    ).fetchone()
    return InForce(row[0] or 0, row[1], row[2] or 0, row[3] or "", row[4] or "")


def classes_in_use(db: Database, under: Under) -> list[str]:
    """The recipe's classes, and behind them those that its model in use has besides."""
    rows = db.execute(
        "SELECT class FROM baselines WHERE model_id = "
        "(SELECT model_id FROM activations WHERE recipe = ? ORDER BY id DESC LIMIT 1) "
        "ORDER BY class_index",
        [under.key],
    ).fetchall()
    known = under.settings.recipe.classes
    return [*known, *(name for (name,) in rows if name not in known)]


def start_cycle(db: Database, reason: str, recipe: str = "") -> None:
    """Begin a new cycle of a recipe: its quota of questions is free again."""
    db.execute(
        "INSERT INTO cycles (reason, recipe, wall_ns, monotonic_ns, boot_id, clock_ok) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        [reason, recipe, *stamp()],
    )


def refuse(db: Database, model_id: str, reason: str, recipe: str = "") -> None:
    """Never take this model for a recipe from the exchange again."""
    db.execute(
        "INSERT OR REPLACE INTO refused (model_id, recipe, reason, wall_ns, monotonic_ns, "
        "boot_id, clock_ok) VALUES (?, ?, ?, ?, ?, ?, ?)",
        [model_id, recipe, reason, *stamp()],
    )


def why_refused(db: Database, model_id: str, recipe: str = "") -> str | None:
    """Why a model is not taken for a recipe; None: it may be."""
    row = db.execute(
        "SELECT reason FROM refused WHERE model_id = ? AND recipe = ?", [model_id, recipe]
    ).fetchone()
    return None if row is None else row[0]


class RefusedModel(NamedTuple):
    """A model that is not taken from the exchange."""

    model_id: str
    recipe: str
    """'' for that of the settings file, else its name."""
    reason: str


def refused_models(db: Database) -> list[RefusedModel]:
    """Every model that is not taken, the oldest first."""
    rows = db.execute("SELECT model_id, recipe, reason FROM refused ORDER BY rowid")
    return [RefusedModel(*row) for row in rows]


# --- what people did ------------------------------------------------------------------------


def add_action(db: Database, who: str, action: str, subject: str) -> None:
    """Record what somebody did, in the audit trail; labels and undos are there of themselves."""
    db.execute(
        "INSERT INTO actions (who, action, subject, wall_ns, monotonic_ns, boot_id, clock_ok) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        [who, action, subject, *stamp()],
    )


def begin_lot(db: Database, part: str, lot: str, who: str) -> None:
    """Every frame from now on is of this part and lot."""
    with db.atomic():
        db.execute(
            "INSERT INTO lots (part, lot, who, wall_ns, monotonic_ns, boot_id, clock_ok) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            [part, lot, who, *stamp()],
        )
        add_action(db, who, "began lot", f"{part or '-'} / {lot or '-'}")


def record_settings(db: Database, settings: Settings) -> None:
    """Record the settings that a program starts with, where they are others than before.

    Without passwords: the trail and the lot reports are for many eyes.
    """
    toml = without_passwords(to_toml(settings, comments=False))
    digest = hashlib.sha256(toml.encode()).hexdigest()
    with exclusive(db):
        last = db.execute(
            "SELECT digest, toml FROM settings_in_force ORDER BY id DESC LIMIT 1"
        ).fetchone()
        if last is not None and (last[0] == digest or _without_comments(last[1]) == toml):
            return
        db.execute(
            "INSERT INTO settings_in_force (digest, toml, wall_ns, monotonic_ns, boot_id, "
            "clock_ok) VALUES (?, ?, ?, ?, ?, ?)",
            [digest, toml, *stamp()],
        )
        if last is not None:
            added = sorted(set(toml.splitlines()) - set(_without_comments(last[1]).splitlines()))
            subject = "; ".join(added)[:1000] or "lines removed"
            add_action(db, user_name(), "changed settings", subject)


def _without_comments(toml: str) -> str:
    """Recorded settings as they are recorded now: a table or a key a line."""
    lines = toml.splitlines(keepends=True)
    kept = [line for line in lines[1:] if not line.startswith("# ") or line.endswith("(not set)\n")]
    return lines[0] + "".join(re.sub(r"^(\[.*?\])  # .*", r"\1", line) for line in kept)


def without_passwords(toml: str) -> str:
    """Settings without what the address of a camera may hold in front of its host."""
    return re.sub(r"(://)[^/\s\"']*@", r"\1***@", toml)


def user_name() -> str:
    """Who runs this program, as the system knows him."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        return f"uid {os.getuid()}"


# --- questions and answers ------------------------------------------------------------------


CLASS = "class"
CANT_TELL = "can't tell"
SOMETHING_NEW = "something new"
UNDONE = "undone"
"""The kinds of answers; the last answer of a patch counts, and an undone patch waits again."""

LAST_ANSWER = (
    "(SELECT answer FROM labels WHERE patch_id = {} AND NOT repeat ORDER BY rowid DESC LIMIT 1)"
)


class Question(NamedTuple):
    """A flagged patch that waits for an operator."""

    patch_id: str
    reason: str
    predicted: str | None
    score: float
    recipe: str
    """The recipe it was asked under: '' for that of the settings file, else its name."""


Quotas = Mapping[str, tuple[int, int]]
"""k and cold_start of every recipe that there is, by its key: '' or its name."""


def waiting(db: Database, quotas: Quotas) -> list[Question]:
    """The questions of each recipe's present cycle that have no answer yet, the most useful first.

    Every flag ever kept stays in the store; the recipe's quota is applied here: the k highest
    scores of each predicted class, the `cold_start` highest priorities without a model, and all
    audits. This is what makes the stream's selection equal to the pool's. Of a recipe that is no
    more nothing is asked.

    Order: parts whose verdict is unsure, for they wait; then answers that the trainer doubts
    (`device.second_look`), which belong to no cycle and no quota; then the others; in the first
    and last the highest score of every class, then the second of every class, and so on; audits
    last.
    """
    recipe_of = {
        cycle: recipe
        for cycle, recipe in db.execute("SELECT max(id), recipe FROM cycles GROUP BY recipe")
        if recipe in quotas
    }
    cycles = list(recipe_of)
    # Ranked here and not by a window function, which takes four times as long.
    flags = db.execute(
        "SELECT f.patch_id, f.reason, f.predicted, f.score, r.verdict, f.cycle "  # noqa: S608
        "FROM flags f "
        "JOIN frames r INDEXED BY frames_facts ON r.id = f.frame_id "
        f"WHERE cycle IN ({_marks(cycles)}) AND reason != 'defect' AND alike IS NULL "
        "ORDER BY score DESC, f.id",
        cycles,
    ).fetchall()
    answered = _answered(db, cycles)
    limits = {
        (cycle, reason): limit
        for cycle, recipe in recipe_of.items()
        for reason, limit in zip(("uncertain", "cold-start"), quotas[recipe], strict=True)
    }
    ranks: Counter[tuple[int, str, str | None]] = Counter()
    best: dict[str, tuple[tuple[int, int], Question]] = {}
    for patch_id, reason, predicted, score, verdict, cycle in flags:
        rank = ranks[cycle, reason, predicted] = ranks[cycle, reason, predicted] + 1
        if rank > limits.get((cycle, reason), rank) or patch_id in answered:
            continue
        group = 3 if reason == "audit" else 0 if verdict == "unsure" else 2
        ranked = (group, rank), Question(patch_id, reason, predicted, score, recipe_of[cycle])
        if patch_id not in best or ranked[0] < best[patch_id][0]:
            best[patch_id] = ranked
    for number, doubt in enumerate(open_doubts(db)):
        question = last_question(db, doubt.patch_id)
        if question is not None and question.recipe in quotas:
            best[doubt.patch_id] = (1, number), question
    # Equal ranks stay in the order of their scores: sorting is stable.
    return [question for _, question in sorted(best.values(), key=itemgetter(0))]


def _marks(values: Sequence[int]) -> str:
    return ", ".join("?" * len(values))


def _answered(db: Database, cycles: Sequence[int]) -> set[str]:
    """The patches flagged in these cycles that have an answer which was not taken back."""
    rows = db.execute(
        f"""
        SELECT DISTINCT f.patch_id FROM flags f JOIN labels l ON l.patch_id = f.patch_id
        WHERE f.cycle IN ({_marks(cycles)}) AND l.answer != 'undone' AND l.rowid =
            (SELECT max(rowid) FROM labels WHERE patch_id = f.patch_id AND NOT repeat)
        """,  # noqa: S608 - nothing but question marks
        cycles,
    )
    return {row[0] for row in rows}


def last_question(db: Database, patch_id: str) -> Question | None:
    """The last question that was asked about a patch; None: none ever was."""
    row = db.execute(
        "SELECT f.patch_id, f.reason, f.predicted, f.score, coalesce(c.recipe, '') FROM flags f "
        "LEFT JOIN cycles c ON c.id = f.cycle "
        "WHERE f.patch_id = ? AND f.reason != 'defect' ORDER BY f.id DESC LIMIT 1",
        [patch_id],
    ).fetchone()
    return None if row is None else Question(*row)


def truth_of(db: Database, patch_id: str) -> str | None:
    """The class of a patch, where its source knew it."""
    row = db.execute("SELECT truth FROM patches WHERE id = ?", [patch_id]).fetchone()
    return None if row is None else row[0]


def add_label(db: Database, patch_id: str, class_name: str, operator: str) -> None:
    """Record an operator's answer: this patch shows this class. On the disk on return.

    Raises:
        UserError: no such patch.
    """
    add_answer(db, patch_id, CLASS, class_name, operator)


def add_answer(
    db: Database,
    patch_id: str,
    answer: str,
    class_name: str | None,
    operator: str,
    *,
    repeat: bool = False,
) -> str:
    """Record an answer of any kind; the id of its row. On the disk with the transaction.

    A `repeat` shows how far operators agree and changes nothing of what the patch is.

    Raises:
        UserError: no such patch.
    """
    moment = stamp()
    identity = json.dumps([patch_id, answer, class_name, operator, *moment])
    label_id = hashlib.sha256(identity.encode()).hexdigest()
    with exclusive(db):  # else what nobody has answered could go meanwhile
        if not db.execute("SELECT 1 FROM patches WHERE id = ?", [patch_id]).fetchone():
            raise UserError(
                f"patch {patch_id}: not in the store; `millsight device questions` lists"
            )
        row = [label_id, patch_id, answer, class_name, operator, *moment, int(repeat)]
        db.execute("INSERT OR IGNORE INTO labels VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        log_answer(db, row)
    return label_id


class LabelledPatches(NamedTuple):
    """What a training run learns from, in the order of patch ids."""

    patches: NDArray[np.uint8]
    """uint8 [N, 200, 200]."""
    classes: list[str]
    ids: list[str]


def labelled_patches(db: Database, recipe: str | None = None) -> LabelledPatches:
    """Every patch of a recipe's frames, or of all, with the class its last answer gave it.

    Raises:
        UserError: a stored picture cannot be decoded.
    """
    rows = db.execute(
        """
        SELECT p.id, p.png, l.class FROM patches p
        JOIN labels l ON l.rowid =
            (SELECT max(rowid) FROM labels WHERE patch_id = p.id AND NOT repeat)
        WHERE l.answer = 'class' AND p.id NOT IN (SELECT patch_id FROM pictures_gone)
        AND (:recipe IS NULL OR EXISTS (
            SELECT 1 FROM flags f JOIN frames r ON r.id = f.frame_id
            WHERE f.patch_id = p.id AND r.recipe = :recipe))
        ORDER BY p.id
        """,
        {"recipe": recipe},
    ).fetchall()
    images = [decode_png(png, patch_id) for patch_id, png, _ in rows]
    stacked = np.stack(images) if images else np.empty((0, 200, 200), np.uint8)
    return LabelledPatches(stacked, [row[2] for row in rows], [row[0] for row in rows])


def is_labelled(db: Database, patch_id: str) -> bool:
    """Whether a patch has an answer that was not taken back and that the trainer does not doubt."""
    row = db.execute("SELECT " + LAST_ANSWER.format("?"), [patch_id]).fetchone()
    return row[0] not in {None, UNDONE} and not is_doubted(db, patch_id)


def flags_of_cycle(
    db: Database, cycle: int
) -> list[tuple[str, str, str | None, float, str | None]]:
    """(patch id, reason, predicted class, score, near-identical patch) of every question of a
    cycle, oldest first."""
    return [
        tuple(row)
        for row in db.execute(
            "SELECT patch_id, reason, predicted, score, alike FROM flags "
            "WHERE cycle = ? AND reason != 'defect' ORDER BY id",
            [cycle],
        )
    ]


def fingerprint_of(db: Database, patch_id: str) -> bytes | None:
    """The fingerprint of a stored patch (`device.alike`), made where it was kept without one.

    None: its picture has gone (`device.retention`).

    Raises:
        UserError: the stored picture cannot be decoded.
    """
    png, print_ = db.execute(
        "SELECT png, fingerprint FROM patches WHERE id = ?", [patch_id]
    ).fetchone()
    return print_ or (fingerprint(decode_png(png, patch_id)) if png else None)


# --- pictures -------------------------------------------------------------------------------

# Run-length strategy over upward differences: a third of the time of the defaults for grey
# steel, at the same size.
PNG_SETTINGS = [
    cv2.IMWRITE_PNG_COMPRESSION, 1,
    cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE,
    cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP,
]  # fmt: skip


def encode_png(patch: NDArray[np.uint8]) -> bytes:
    """A patch as PNG, without loss."""
    return cv2.imencode(".png", patch, PNG_SETTINGS)[1].tobytes()


def encode_jpeg(frame: NDArray[np.uint8]) -> bytes:
    """A frame as JPEG, for people to look at."""
    return cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()


def decode_png(png: bytes, patch_id: str) -> NDArray[np.uint8]:
    """The pixels of a stored patch, uint8 [200, 200].

    Raises:
        UserError: it cannot be decoded.
    """
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise UserError(f"patch {patch_id}: its stored picture is damaged; restore a backup")
    return np.asarray(image, np.uint8)


# --- what the loop says of itself -----------------------------------------------------------


def add_event(db: Database, kind: str, text: str) -> None:
    """Record something that happened."""
    db.execute(
        "INSERT INTO events (kind, text, wall_ns, monotonic_ns, boot_id, clock_ok) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        [kind, text, *stamp()],
    )


Counted = tuple[int, str, str, str, str, str, str]
"""Key of a counter: minute, model id, recipe, verdict, class, part, lot."""
Scored = tuple[int, str, str, str, int]
"""Key of a count of scores: hour, model id, predicted class, part, bin (`device.kls.score_bin`)."""


def add_counts(db: Database, counts: Iterable[tuple[Counted, int]]) -> None:
    """Add frames to the per-minute counters."""
    for key, frames in counts:
        db.execute(
            "INSERT INTO counters VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET frames = frames + excluded.frames",
            [*key, frames],
        )


def add_scores(db: Database, counts: Iterable[tuple[Scored, int]]) -> None:
    """Add patches to the per-hour counts of scores."""
    for key, patches in counts:
        db.execute(
            "INSERT INTO scores VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET patches = patches + excluded.patches",
            [*key, patches],
        )


def set_state(db: Database, key: str, value: Any) -> None:
    """Remember a JSON value under a key."""
    db.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", [key, json.dumps(value)])


def get_state(db: Database, key: str) -> Any:
    """The JSON value remembered under a key, or None."""
    row = db.execute("SELECT value FROM state WHERE key = ?", [key]).fetchone()
    return None if row is None else json.loads(row[0])
