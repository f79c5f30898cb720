"""`millsight device sync`: answers up, a model down."""

from collections.abc import Iterator

from config.errors import UserError
from config.settings import Settings
from device.exchange.place import Unreachable, open_place
from device.exchange.push import push
from device.store import open_store
from device.update.client import root_path
from device.update.memory import note_refusal
from device.update.take_in import Step, take_in


def sync(settings: Settings, step: Step = lambda _name: None) -> Iterator[str]:
    """Push what is new, then take in what is published; a line for each.

    What keeps the push back does not keep a model back, unless nothing can be reached at all.

    Raises:
        UserError: the exchange does not answer, something cannot be pushed, or what the exchange
            offers was refused.
    """
    failed = None
    try:
        yield from push(settings).lines()
    except Unreachable as error:
        db = open_store(settings.device.data)
        note_refusal(db, str(error))
        db.close()
        raise
    except UserError as error:
        failed = error
    yield models_line(settings, step)
    if failed is not None:
        raise failed


def models_line(settings: Settings, step: Step = lambda _name: None) -> str:
    """Take in what is published; what became of it, in a line.

    Raises:
        UserError: as `take_in`.
    """
    if not root_path(settings).exists():
        return (
            f"models: none can be trusted: {root_path(settings)} is missing; bring the trainer's "
            "root.json here by hand: millsight device trust ROOT"
        )
    db = open_store(settings.device.data)
    try:
        with open_place(settings.exchange) as place:
            choice = take_in(db, place, settings, step)
    finally:
        db.close()
    if choice.release is None:
        return f"models: {choice.why}"
    return (
        f"models: {choice.release.model[:12]} in use (release {choice.release.number}: "
        f"{choice.why})"
    )
