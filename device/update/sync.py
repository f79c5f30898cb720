"""`millsight device sync`: answers up, models down."""

from collections.abc import Iterator

from config.errors import UserError
from config.recipes import load_recipes
from config.settings import Settings
from device.exchange.opening import open_place
from device.exchange.place import Unreachable
from device.exchange.push import push
from device.exchange.trust import root_path
from device.store.database import open_store_of
from device.update.memory import note_refusal
from device.update.take_in import Step, take_in


def sync(settings: Settings, step: Step = lambda _name: None) -> Iterator[str]:
    """Push what is new, then take in what is published for every recipe; a line for each.

    What keeps the push back does not keep a model back: a full exchange takes nothing, and gives
    models all the same. What is refused for one recipe does not keep back another's.

    Raises:
        UserError: the exchange does not answer, something cannot be pushed, or what the exchange
            offers was refused.
    """
    failed = None
    try:
        yield from push(settings).lines()
    except UserError as error:
        failed = error
    try:
        yield from models_lines(settings, step)
    except Unreachable as error:
        db = open_store_of(settings)
        note_refusal(db, str(error), [under.key for under in load_recipes(settings).each()])
        db.close()
        raise
    if failed is not None:
        raise failed


def models_lines(settings: Settings, step: Step = lambda _name: None) -> Iterator[str]:
    """Take in what is published; what became of it, a line for each recipe.

    Raises:
        UserError: as `take_in`, or something was refused for a recipe, at the end.
    """
    if not root_path(settings).exists():
        yield (
            f"models: none can be trusted: {root_path(settings)} is missing; bring the trainer's "
            "root.json here by hand: millsight device trust ROOT"
        )
        return
    recipes = load_recipes(settings)
    db = open_store_of(settings)
    try:
        with open_place(settings.exchange) as place:
            taken = take_in(db, place, recipes.each(), step)
    finally:
        db.close()
    wrong = list(recipes.errors)
    for one in taken:
        of = f"recipe {one.recipe}: " if recipes.several else ""
        if one.choice is None:
            wrong.append(of + one.refused)
        else:
            yield f"models: {of}{one.choice.line()}"
    if wrong:
        raise UserError("\n".join(wrong))
