"""`millsight device sync`: answers up, a model down."""

from collections.abc import Iterator

from config.settings import Settings
from device.exchange.place import open_place
from device.store import open_store
from device.update.client import root_path
from device.update.take_in import Step, take_in


def sync(settings: Settings, step: Step = lambda _name: None) -> Iterator[str]:
    """Push what is new, then take in what is published; a line for each.

    Raises:
        UserError: the exchange does not answer, or what it offers was refused.
    """
    if not root_path(settings).exists():
        yield (
            f"no model can be trusted: {root_path(settings)} is missing; bring the trainer's "
            "root.json here by hand: millsight device trust ROOT"
        )
        return
    db = open_store(settings.device.data)
    try:
        with open_place(settings.exchange) as place:
            choice = take_in(db, place, settings, step)
    finally:
        db.close()
    if choice.release is None:
        yield f"models: {choice.why}"
    else:
        yield (
            f"models: {choice.release.model[:12]} in use (release {choice.release.number}: "
            f"{choice.why})"
        )
