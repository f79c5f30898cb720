"""The Today page: what a shift was like, in pictures; its filters and downloads."""

import time
from collections import OrderedDict
from collections.abc import Callable

from sqlite_utils import Database
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from config.recipes import Recipes, Under
from device.drift.log import alarms
from device.models.models_in_use import in_force
from device.reports import day
from device.reports.estimate import accuracy
from device.review.cards import (
    Card,
    Texts,
    accuracy_card,
    agreement_card,
    asked_card,
    budget_card,
    defect_card,
    nothing,
    pages_of,
    room_in,
    score_cards,
    span,
    verdict_card,
)
from device.review.changes import changed_card
from device.review.charts import Size
from device.review.desk import Desk
from device.review.downloads import answers_csv, counters_csv, pictures_zip
from device.review.shell import Shell
from device.review.texts import class_word, texts
from device.review.view import Cell, View, paged, read_view
from device.store.plate_log import count_plates
from device.store.shifts import labels_in_shift


def routes(desk: Desk, shell: Shell) -> list[BaseRoute]:
    """The page, the pages of choices behind it, and the downloads."""
    settings = desk.settings
    size = room_in(shell.layout.cards[0])
    finished: Finished = OrderedDict()

    def view_of(request: Request) -> tuple[View, Texts]:
        classes = classes_of(desk.recipes)
        view = read_view(request.query_params, settings, classes, time.time_ns())
        return view, texts(shell.language(request))

    async def today(request: Request) -> Response:
        view, t = view_of(request)
        cards = await desk.work(lambda db: cards_of(db, desk.recipes, view, size, t, finished))
        pages = pages_of(cards, len(shell.layout.cards))
        page = min(view.page, len(pages) - 1)

        def turn(by: int) -> str | None:
            there = 0 <= page + by < len(pages)
            return view.link("/today", page=str(page + by)) if there else None

        bar = [
            Cell("‹", t["previous"], turn(-1)),
            Cell("›", t["following"], turn(1)),
            Cell("▽", t["today-filter"], view.link("/today/filter")),
            Cell("⤓", t["today-save"], view.link("/today/save")),
        ]
        heading = heading_of(view, t)
        return shell.render(
            request, "cards.html", tab="today", heading=heading, cards=pages[page], bar=bar
        )

    def choices(
        cells_of: Callable[[Database, View, Texts], list[Cell]], path: str, back: str, title: str
    ) -> Route:
        async def page(request: Request) -> Response:
            view, t = view_of(request)
            cells = await desk.work(lambda db: cells_of(db, view, t))
            shown, following = paged(cells, len(shell.layout.cells), view.page)
            return shell.render(
                request,
                "choices.html",
                tab="today",
                heading=t[title],
                back=view.link(back),
                cells=shown,
                following=following is not None and view.link(path, page=str(following)),
            )

        return Route(path, page)

    async def download(request: Request) -> Response:
        view, _ = view_of(request)
        kinds = {
            "counters.csv": counters_csv,
            "answers.csv": answers_csv,
            "pictures.zip": pictures_zip,
        }
        kind = kinds.get(request.path_params["kind"])
        if kind is None:
            raise HTTPException(404)
        return kind(desk, view.choice)

    return [
        Route("/today", today),
        choices(filters, "/today/filter", "/today", "today-filter"),
        choices(shift_cells, "/today/shifts", "/today/filter", "today-shift"),
        choices(part_cells, "/today/parts", "/today/filter", "today-part"),
        choices(class_cells(desk), "/today/classes", "/today/filter", "today-class"),
        choices(save_cells, "/today/save", "/today", "today-save"),
        Route("/today/{kind}", download),
    ]


def heading_of(view: View, t: Texts) -> str:
    """What the page shows, in a line."""
    choice = view.choice
    return " · ".join(
        [
            span(choice.shift),
            *([] if choice.part is None else [choice.part or t["today-unnamed"]]),
            *([] if choice.class_name is None else [class_word(choice.class_name, t)]),
        ]
    )


Finished = OrderedDict[day.Choice, day.Asked]
"""What was asked about in shifts that are over, for it does not change any more."""
REMEMBERED = 500


def asked_in(db: Database, choice: day.Choice, finished: Finished) -> day.Asked:
    """Like `day.asked`, remembering what is over for an hour: all of it is stored by then."""
    if choice in finished:
        return finished[choice]
    found = day.asked(db, choice)
    if choice.shift.end_ns + day.HOUR_NS < time.time_ns():
        finished[choice] = found
        if len(finished) > REMEMBERED:
            finished.popitem(last=False)
    return found


def cards_of(
    db: Database, recipes: Recipes, view: View, size: Size, t: Texts, finished: Finished
) -> list[Card]:
    """Every card, in reading order; those of a model for the recipe of each."""
    choice = view.choice
    shares = [
        (shift, asked_in(db, choice._replace(shift=shift), finished)) for shift in view.shifts
    ]
    given = labels_in_shift(db, choice.shift)
    changes = [
        alarm
        for alarm in alarms(db, list(recipes.all()), since_ns=choice.shift.begin_ns)
        if alarm.wall_ns < choice.shift.end_ns
    ]
    lasting = alarms(db, list(recipes.all()), lasting=True)
    several = recipes.several
    return [
        *([changed_card(lasting, t, several=several)] if lasting else []),
        verdict_card(day.verdicts(db, choice), choice, size, t),
        defect_card(day.defects(db, choice), size, t),
        asked_card(shares, choice.shift, size, t),
        budget_card(given, recipes.site.asking.labels_per_shift, size, t),
        *(
            card._replace(title=" · ".join(filter(None, [card.title, recipes.told(under.key)])))
            for under in recipes.each()
            for card in model_cards(db, under, choice, size, t)
        ),
        agreement_card(day.operators_agreement(db, time.time_ns()), size, t),
        *([] if lasting else [changed_card(changes, t, several=several)]),
    ]


def model_cards(db: Database, under: Under, choice: day.Choice, size: Size, t: Texts) -> list[Card]:
    """Scores and accuracy of the model in use for a recipe."""
    model_id = in_force(db, under.key).model_id
    if model_id is None:
        return [nothing(t["today-accuracy"], t)]
    found = accuracy(
        db,
        model_id,
        under.settings.asking.k,
        part=choice.part,
        class_name=choice.class_name,
        per_class=False,
    )
    return [
        *score_cards(day.scores(db, model_id, choice), size, t),
        accuracy_card(found, size, t),
    ]


def filters(_db: Database, view: View, t: Texts) -> list[Cell]:
    """What can be chosen, and what is."""
    choice = view.choice
    part = t["today-all"] if choice.part is None else choice.part or t["today-unnamed"]
    which = t["today-all"] if choice.class_name is None else class_word(choice.class_name, t)
    return [
        Cell(t["today-shift"], span(choice.shift), view.link("/today/shifts")),
        Cell(t["today-part"], part, view.link("/today/parts")),
        Cell(t["today-class"], which, view.link("/today/classes")),
    ]


def shift_cells(_db: Database, view: View, t: Texts) -> list[Cell]:
    """The shifts."""
    return [
        Cell(
            span(shift),
            t["today-now"] if i == 0 else "",
            view.link("/today", shift=str(shift.begin_ns // 10**9) if i else None),
            shift == view.choice.shift,
        )
        for i, shift in enumerate(view.shifts)
    ]


def part_cells(db: Database, view: View, t: Texts) -> list[Cell]:
    """All parts, each part, and frames of which no part was named."""
    chosen = view.choice.part
    return [
        Cell(t["today-all"], "", view.link("/today", part=None), chosen is None),
        *(Cell(p, "", view.link("/today", part=p), chosen == p) for p in day.parts(db)),
        Cell(t["today-unnamed"], "", view.link("/today", part=""), chosen == ""),
    ]


def classes_of(recipes: Recipes) -> list[str]:
    """The classes of all recipes, each once."""
    return list(dict.fromkeys(c for s in recipes.all().values() for c in s.recipe.classes))


def class_cells(desk: Desk) -> Callable[[Database, View, Texts], list[Cell]]:
    """All classes, and each."""

    def cells(_db: Database, view: View, t: Texts) -> list[Cell]:
        chosen = view.choice.class_name
        return [
            Cell(t["today-all"], "", view.link("/today", **{"class": None}), chosen is None),
            *(
                Cell(
                    class_word(name, t),
                    "",
                    view.link("/today", **{"class": name}),
                    chosen == name,
                )
                for name in classes_of(desk.recipes)
            ),
        ]

    return cells


def save_cells(db: Database, view: View, t: Texts) -> list[Cell]:
    """The downloads, and the way to the lots, and to plates where any were scanned."""
    of_what = heading_of(view, t)
    return [
        Cell(t["today-lots"], "", "/lots"),
        *([Cell(t["today-plates"], "", "/plates")] if count_plates(db) else []),
        Cell(t["drift-title"], "", "/drift"),
        Cell(t["today-save-counters"], of_what, view.link("/today/counters.csv")),
        Cell(t["today-save-answers"], of_what, view.link("/today/answers.csv")),
        Cell(t["today-save-pictures"], of_what, view.link("/today/pictures.zip")),
    ]
