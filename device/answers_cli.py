"""`millsight device`: what is asked, what was answered, and sending it to the trainer."""

import json
from typing import Annotated

from cyclopts import Parameter

from config.basics import is_name
from config.cli import Config, Who
from config.errors import UserError
from config.load import load_settings
from config.recipes import load_recipes


def questions(config: Config = None) -> None:
    """List the flagged patches that wait for an answer, most unsure first.

    Where there are several recipes, each line ends with the name of its own.

    Parameters
    ----------
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    """
    from device.store.answers import waiting  # noqa: PLC0415
    from device.store.database import open_store_of  # noqa: PLC0415

    settings = load_settings(config)
    db = open_store_of(settings)
    recipes = load_recipes(settings)
    for question in waiting(db, recipes.quotas):
        guess = question.predicted or "-"
        line = f"{question.patch_id} {question.reason} {guess} {question.score:.4f}"
        print(f"{line} {recipes.told(question.recipe)}".rstrip())
    db.close()


def label(patch: str, class_name: str, config: Config = None, *, operator: Who) -> None:
    """Answer a question: which class a patch shows. On the disk when this returns.

    Parameters
    ----------
    patch
        Id of the patch, as `questions` lists it.
    class_name
        One of the classes of the recipe that it was asked under, or of those that its model in use
        has besides.
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    operator
        Who answers.
    """
    from device.models.models_in_use import classes_in_use  # noqa: PLC0415
    from device.store.answers import add_label, last_question  # noqa: PLC0415
    from device.store.database import open_store_of, staying_the_store  # noqa: PLC0415

    settings = load_settings(config)
    recipes = load_recipes(settings)
    db = open_store_of(settings)
    question = last_question(db, patch)
    under = recipes.keyed("" if question is None else question.recipe) or recipes.under(None)
    if class_name not in (classes := classes_in_use(db, under)):
        raise UserError(
            f"{class_name}: no class of recipe {under.name!r}; its classes: {', '.join(classes)}"
        )
    with staying_the_store(settings.device.data):
        add_label(db, patch, class_name, operator)
    db.close()
    print(f"{patch[:12]}: {class_name}")


def lot(part: str, lot: str, config: Config = None, *, operator: Who) -> None:
    """Begin a lot: every frame from now on is of this part and lot.

    Parameters
    ----------
    part
        Number of the part; "" for none.
    lot
        Number of the lot; "" for none.
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    operator
        Who begins it.
    """
    from device.store.database import open_store_of  # noqa: PLC0415
    from device.store.trail import begin_lot  # noqa: PLC0415

    for words in (part, lot):
        if words and not is_name(words):
            raise UserError(
                f"{words}: no number of a part or lot; letters, digits and _ . + - and blanks, "
                "64 at most"
            )
    db = open_store_of(load_settings(config))
    begin_lot(db, part, lot, operator)
    db.close()
    print(f"part {part or '-'}, lot {lot or '-'}")


def push(config: Config = None, *, as_json: Annotated[bool, Parameter("--json")] = False) -> None:
    """Send what is new to the exchange: answers with their patches, random draws, counts, events.

    Takes in first what the trainer has acknowledged. Killed at any moment, the next push goes on
    where this one ended.

    Parameters
    ----------
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    as_json
        Print JSON instead of text.
    """
    from device.exchange.push import push as send  # noqa: PLC0415

    pushed = send(load_settings(config))
    if as_json:
        print(json.dumps(pushed._asdict(), indent=2, ensure_ascii=False))
        return
    print("\n".join(pushed.lines()))
