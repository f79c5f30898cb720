"""What the last night did and why: its model went out, or was kept back by a criterion."""

import asyncio
import math
import re
from collections.abc import Sequence
from functools import cache
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from config.recipes import Recipes
from device.review.cards import LINE, Card, Texts, moment, pages_of, room_in
from device.review.charts import Size, number, wide
from device.review.desk import Desk
from device.review.nights import Criterion, Night, last_night
from device.review.shell import Shell
from device.review.texts import class_word, texts
from device.review.view import Cell, page_number

PATH = "/models/night"
LETTER = 3.2
"""Height of the letters in a card's lines, in millimetres; so in cards.css."""


def routes(desk: Desk, shell: Shell) -> list[BaseRoute]:
    """The page of the last night."""
    size = room_in(shell.layout.cards[0])

    async def page(request: Request) -> Response:
        t, recipes = texts(shell.language(request)), desk.recipes
        name = request.query_params.get("recipe", recipes.site.recipe.name)
        settings = recipes.named(name)
        night = None if settings is None else await asyncio.to_thread(last_night, settings)
        if night is None:
            raise HTTPException(404)
        pages = pages_of(night_cards(night, size, t), len(shell.layout.cards))
        here = min(page_number(request.query_params), len(pages) - 1)
        forth = f"{PATH}?{urlencode({'recipe': name, 'page': (here + 1) % len(pages)})}"
        bar = [
            Cell("‹", t["models-back"], "/models"),
            Cell("›", t["following"], forth) if len(pages) > 1 else Cell("", "", None),
        ]
        heading = title_of(night, t, name if recipes.several else "")
        return shell.render(
            request, "cards.html", tab="models", heading=heading, cards=pages[here], bar=bar
        )

    return [Route(PATH, page)]


def title_of(night: Night, t: Texts, recipe: str) -> str:
    """Which night it was; `recipe` is empty where there is only one."""
    return " · ".join(filter(None, [t["night-title"], recipe, moment(night.wall_ns)]))


async def night_cells(recipes: Recipes, t: Texts) -> list[Cell]:
    """The last night of every recipe, among the models."""
    found = []
    for name, settings in recipes.all().items():
        night = await asyncio.to_thread(last_night, settings)
        if night is not None:
            cell = night_cell(night, t, name if recipes.several else "")
            found.append(cell._replace(href=f"{PATH}?{urlencode({'recipe': name})}"))
    return found


def night_cell(night: Night, t: Texts, recipe: str = "") -> Cell:
    """The last night of a recipe among the models."""
    lines = [t["night-published"] if night.published else t["night-kept"]]
    if night.reasons:
        lines.append(criterion_name(night.reasons[0], t))
    return Cell(title_of(night, t, recipe), "; ".join(lines), PATH)


def night_cards(night: Night, size: Size, t: Texts) -> list[Card]:
    """What came of the night, then every criterion: what was found, and what had to be."""
    lead = t["night-published-lead"] if night.published else t["night-kept-lead"]
    what = [t["night-learnt"].format(count=number(night.labels), model=night.model_id[:12])]
    what += [criterion_line(criterion, t) for criterion in night.reasons]
    lines = [criterion_line(criterion, t) for criterion in night.criteria]
    came = [Card(t["night-came"], lead, lines=page) for page in filled(what, size)]
    head = t["night-criteria"], t["night-criteria-lead"]
    return came + [Card(*head, lines=page) for page in filled(lines, size)]


def filled(lines: Sequence[str], size: Size) -> list[tuple[str, ...]]:
    """Lines on as many cards of this size as they take; a long one is wrapped."""
    pages: list[list[str]] = []
    left = 0
    for line in lines:
        rows = math.ceil(1.2 * wide(line, LETTER) / size.width)  # words are not cut: some air
        if rows > left or not pages:
            pages.append([])
            left = int(size.height / LINE)
        pages[-1].append(line)
        left -= rows
    return [tuple(page) for page in pages]


def criterion_line(criterion: Criterion, t: Texts) -> str:
    """A criterion in a line, told apart by a sign."""
    return t["night-criterion"].format(
        sign="✓" if criterion.passed else "✗",
        name=criterion_name(criterion, t),
        found=in_language(criterion.found, t),
        limit=in_language(criterion.limit, t),
    )


def criterion_name(criterion: Criterion, t: Texts) -> str:
    """Its name in the page's language; the trainer says it in English."""
    kind, _, of = criterion.name.partition(" of ")
    known = t.get(f"criterion-{kind.replace(' ', '-')}")
    return criterion.name if known is None else known.format(of=class_word(of, t))


def in_language(words: str, t: Texts) -> str:
    """What the trainer says of a criterion, in the page's language; unknown words stay as they are.

    The English texts are the trainer's own words: by them it is known what it says.
    """
    for key, pattern in _phrases():
        if said := pattern.fullmatch(words):
            return t[key].format(**said.groupdict())
    return words


@cache
def _phrases() -> list[tuple[str, re.Pattern[str]]]:
    """The trainer's phrases by their keys; a blank is one word, but for the name of a device."""

    def blank(found: re.Match[str]) -> str:
        words = ".+" if found[1] == "device" else r"\S+"
        return f"(?P<{found[1]}>{words})"

    return [
        (key, re.compile(re.sub(r"\\\{(\w+)\\\}", blank, re.escape(text))))
        for key, text in texts("en").items()
        if key.startswith("phrase-")
    ]
