"""What has changed, of light, lens, material or surfaces: the Today card, and the pictures."""

from collections.abc import Sequence

from markupsafe import Markup, escape
from sqlite_utils import Database
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from device.drift.detection import CONTRAST, LIGHT, MIX, SCORE, SHARPNESS, Moved
from device.drift.log import Alarm, alarms, picture
from device.review.cards import Card, Texts, moment, pages_of
from device.review.charts import percent
from device.review.desk import Desk
from device.review.shell import Shell
from device.review.texts import class_word, texts
from device.review.view import Cell, page_number

SHOWN = 10
"""Alarms with pictures, the latest ones."""
RESET = "millsight device drift --reset --who NAME"


def routes(desk: Desk, shell: Shell) -> list[BaseRoute]:
    """The page, and its pictures."""

    async def index(request: Request) -> Response:
        t, recipes = texts(shell.language(request)), desk.recipes
        found = await desk.work(lambda db: alarms(db, list(recipes.all()), limit=SHOWN))
        several = recipes.several
        cards = [card for alarm in found for card in alarm_cards(alarm, t, several=several)]
        pages = pages_of(cards or [changed_card([], t)], len(shell.layout.cards))
        page = min(page_number(request.query_params), len(pages) - 1)

        def turn(by: int) -> str | None:
            return f"/drift?page={page + by}" if 0 <= page + by < len(pages) else None

        bar = [
            Cell("‹", t["previous"], turn(-1)),
            Cell("›", t["following"], turn(1)),
            Cell("", "", None),
            Cell("↩", t["tab-today"], "/today"),
        ]
        return shell.render(
            request, "cards.html", tab="today", heading=t["drift-title"], cards=pages[page], bar=bar
        )

    async def jpeg(request: Request) -> Response:
        number, when = request.path_params["alarm"], request.path_params["when"]
        found = await desk.work(lambda db: picture_of(db, list(desk.recipes.all()), number, when))
        if found is None:
            raise HTTPException(404)
        return Response(found, media_type="image/jpeg")

    return [Route("/drift", index), Route("/drift/{alarm:row}/{when}.jpg", jpeg)]


def picture_of(db: Database, recipes: list[str], number: int, when: str) -> bytes | None:
    """The picture from before an alarm, or from when it was noticed; None: there is none."""
    alarm = next((one for one in alarms(db, recipes, limit=SHOWN) if one.id == number), None)
    if alarm is None or when not in {"before", "after"}:
        return None
    blocks = alarm.before if when == "before" else alarm.after[::-1]
    return next((jpeg for block in blocks if (jpeg := picture(db, block, alarm.kind))), None)


def changed_card(found: Sequence[Alarm], t: Texts, *, several: bool = False) -> Card:
    """What changed, the latest first; `several`: the recipes are named."""
    if not found:
        return Card(t["drift-title"], t["drift-none"])

    def lines_of(alarm: Alarm) -> list[str]:
        return [when(alarm, t, several=several), *moved_lines(alarm, t)]

    lines = [line for alarm in found[:3] for line in lines_of(alarm)]
    return Card(t["drift-title"], lines[0], lines=tuple(lines[1:7]))


def alarm_cards(alarm: Alarm, t: Texts, *, several: bool) -> list[Card]:
    """What moved, and a picture from before and one from after."""
    lines = moved_lines(alarm, t)
    if alarm.ended_ns is None:
        command = f'{RESET} --recipe "{alarm.recipe}"' if several else RESET
        lines.append(t["drift-reset"].format(command=command))
    return [
        Card(t["drift-title"], when(alarm, t, several=several), lines=tuple(lines)),
        *(
            Card(title, kind_words(alarm, t), shown(alarm, which, title))
            for which, title in (("before", t["drift-before"]), ("after", t["drift-after"]))
        ),
    ]


def shown(alarm: Alarm, which: str, title: str) -> Markup:
    """The picture itself."""
    return Markup(f'<img src="/drift/{alarm.id}/{which}.jpg" alt="{escape(title)}">')  # noqa: S704


def kind_words(alarm: Alarm, t: Texts) -> str:
    """What it may be."""
    words = {
        "light": t["drift-light"],
        "lens": t["drift-lens"],
        "material": t["drift-material"],
        "new surface": t["drift-new-surface"],
    }
    return words[alarm.kind]


def when(alarm: Alarm, t: Texts, *, several: bool) -> str:
    """What it may be, since when, and of which recipe and part."""
    of = " · ".join(filter(None, [alarm.recipe if several else "", alarm.part]))
    kind = kind_words(alarm, t) + (f" ({of})" if of else "")
    if alarm.ended_ns is None:
        return t["drift-lasts"].format(time=moment(alarm.wall_ns), kind=kind)
    return t["drift-was"].format(time=moment(alarm.wall_ns), kind=kind, end=moment(alarm.ended_ns))


def moved_lines(alarm: Alarm, t: Texts) -> list[str]:
    """What moved, in an operator's words."""
    return [moved_words(one, t) for one in alarm.moved]


def moved_words(one: Moved, t: Texts) -> str:
    """One of them."""
    more = one.after > one.before
    share = percent(abs(one.after / one.before - 1)) if one.before else ""
    if one.what == LIGHT:
        text = t["drift-brighter"] if more else t["drift-darker"]
        return text.format(share=share, before=round(one.before), after=round(one.after))
    if one.what == CONTRAST:
        return (t["drift-more-contrast"] if more else t["drift-less-contrast"]).format(share=share)
    if one.what == SHARPNESS:
        return (t["drift-sharper"] if more else t["drift-softer"]).format(share=share)
    if one.what == SCORE:
        return t["drift-score"].format(name=class_word(one.class_name or "", t))
    text = t["drift-mix"] if one.what == MIX else t["drift-unusual"]
    return text.format(
        name=class_word(one.class_name or "", t),
        before=percent(one.before),
        after=percent(one.after),
    )
