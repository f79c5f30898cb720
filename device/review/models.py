"""The Models page: the last night, the device's models, each of them, and the way back to one."""

from datetime import datetime
from textwrap import wrap

from sqlite_utils import Database
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from config.errors import UserError
from config.recipes import Recipes
from device.models.activation import go_back
from device.reports.estimate import accuracy
from device.review.cards import (
    LINE,
    Card,
    Texts,
    accuracy_card,
    class_accuracy_cards,
    pages_of,
    room_in,
)
from device.review.charts import Size, compared, number, percent
from device.review.desk import Desk
from device.review.guard import checked_form
from device.review.night import night_cells
from device.review.shell import Shell
from device.review.texts import class_word, texts
from device.review.view import Cell, page_number
from device.update.history import StoredModel, count_models, find_model, models, predecessor
from device.update.memory import last_refusal

KNOWN_METRICS = {
    "held_out_accuracy": "models-held-out-accuracy",
    "training_accuracy": "models-training-accuracy",
}
"""Names of measurements that have a text."""
MODEL = "/models/{model}"


def routes(desk: Desk, shell: Shell) -> list[BaseRoute]:
    """The models, the page of each, and the way back to it."""
    settings = desk.settings
    size = room_in(shell.layout.cards[0])
    fit = len(shell.layout.cells)

    async def index(request: Request) -> Response:
        t = texts(shell.language(request))
        wanted = page_number(request.query_params)
        recipes = desk.recipes
        first = await night_cells(recipes, t)
        count = len(first) + await desk.work(count_models)
        pages = max(1, -(-count // (fit - 1)))
        page = min(wanted, pages - 1)
        start = page * (fit - 1)
        nights = first[start : start + fit - 1]
        room = fit - 1 - len(nights)
        found = await desk.work(lambda db: models(db, room, max(0, start - len(first))))
        cells = [*nights, *(model_cell(m, t, recipes.told(m.recipe)) for m in found)]
        return shell.render(
            request,
            "models.html",
            tab="models",
            cells=cells,
            following=f"/models?page={(page + 1) % pages}" if pages > 1 else None,
        )

    async def one(request: Request) -> Response:
        t = texts(shell.language(request))
        model, before = await desk.work(lambda db: with_predecessor(db, wanted_model(db, request)))
        recipes = desk.recipes
        refusal = ""
        if model.in_use:
            refusal = await desk.work(lambda db: last_refusal(db, model.recipe))
        k = (recipes.keyed(model.recipe) or recipes.under(None)).settings.asking.k
        found = await desk.work(lambda db: accuracy(db, model.id, k))
        cards = [
            *model_cards(model, before, size, t),
            accuracy_card(found, size, t)._replace(title=t["models-accuracy"]),
            *class_accuracy_cards(found, size, t),
        ]
        cards[1:1] = update_cards(model, refusal, settings.update.probation_frames, size, t)
        pages = pages_of(cards, len(shell.layout.cards))
        page = min(page_number(request.query_params), len(pages) - 1)
        here = f"/models/{model.id}"
        bar = [
            Cell("‹", t["models-back"], "/models"),
            Cell("›", t["following"], f"{here}?page={(page + 1) % len(pages)}")
            if len(pages) > 1
            else Cell("", "", None),
            Cell("", "", None),
            Cell("", "", None)
            if model.in_use
            else Cell("↶", t["models-go-back"], f"{here}/rollback"),
        ]
        return shell.render(
            request,
            "cards.html",
            tab="models",
            heading=heading(model, t, recipes.told(model.recipe)),
            cards=pages[page],
            bar=bar,
        )

    async def confirm(request: Request) -> Response:
        await desk.supervisor(request)
        model = await desk.work(lambda db: wanted_model(db, request))
        t = texts(shell.language(request))
        title = heading(model, t, desk.recipes.told(model.recipe))
        return shell.render(request, "confirm.html", tab="models", model=model, heading=title)

    async def roll_back(request: Request) -> Response:
        await checked_form(request, desk.key)
        who = (await desk.supervisor(request)).name
        try:
            await desk.work(lambda db: back_to(db, wanted_model(db, request), desk.recipes, who))
        except UserError as error:
            t = texts(shell.language(request))
            unchanged = t["models-unchanged"]
            text = f"{unchanged} {error}"
            return shell.render(request, "error.html", 409, tab="models", text=text)
        return RedirectResponse("/models", 303)

    return [
        Route("/models", index),
        Route(MODEL, one),
        Route(f"{MODEL}/rollback", confirm),
        Route(f"{MODEL}/rollback", roll_back, methods=["POST"]),
    ]


# --- what the pages say ------------------------------------------------------------------------


def wanted_model(db: Database, request: Request) -> StoredModel:
    """The model that an address names in full.

    Raises:
        HTTPException: 404, there is none.
    """
    model_id = request.path_params["model"]
    if not db.execute("SELECT 1 FROM models WHERE id = ?", [model_id]).fetchone():
        raise HTTPException(404)
    return find_model(db, model_id)


def with_predecessor(db: Database, model: StoredModel) -> tuple[StoredModel, StoredModel | None]:
    """A model, and the one before it."""
    return model, predecessor(db, model)


def back_to(db: Database, model: StoredModel, recipes: Recipes, who: str) -> None:
    """Go back to a model, for the recipe it was used for last.

    Raises:
        UserError: that recipe is no more, or as `go_back`.
    """
    under = recipes.keyed(model.recipe)
    if under is None:
        raise UserError(f"{model.id[:12]}: its recipe {model.recipe!r} is no more")
    go_back(db, model.id, under, who)


def model_cell(model: StoredModel, t: Texts, recipe: str) -> Cell:
    """A model in the choice of models; `recipe` is empty where there is only one."""
    name, value = main_metric(model)
    lines = [t["models-labels"].format(count=number(model.metadata.labels))]
    if value is not None:
        lines.append(f"{metric_name(name, t)}: {percent(value)}")
    if model.in_use:
        lines.insert(0, t["models-in-use"])
    if model.probation is not None:
        lines[0] = f"{lines[0]}, {t['models-on-probation']}"
    title = " · ".join(filter(None, [recipe, when(model.wall_ns)]))
    return Cell(title, "; ".join(lines), f"/models/{model.id}", model.in_use)


def main_metric(model: StoredModel) -> tuple[str, float | None]:
    """What was measured on unseen patches, or else on what it learnt; None: nothing."""
    metrics = model.metadata.metrics
    return next(((name, metrics[name]) for name in KNOWN_METRICS if name in metrics), ("", None))


def metric_name(name: str, t: Texts) -> str:
    """A measurement's name in words."""
    return t[KNOWN_METRICS[name]] if name in KNOWN_METRICS else name.replace("_", " ")


def when(ns: int) -> str:
    """A moment in local time."""
    return f"{datetime.fromtimestamp(ns / 1e9):%Y-%m-%d %H:%M}"


def heading(model: StoredModel, t: Texts, recipe: str) -> str:
    """A model in a line; `recipe` is empty where there is only one."""
    in_use = t["models-in-use"] if model.in_use else ""
    return " · ".join(filter(None, [in_use, recipe, when(model.wall_ns), model.id[:12]]))


def model_cards(
    model: StoredModel, before: StoredModel | None, size: Size, t: Texts
) -> list[Card]:  # fmt: skip
    """All that is known of a model, and of what changed with it."""
    cards = [made_card(model, t), measured_card(model, before, size, t)]
    if before is None:
        return [*cards, Card(t["models-changed"], t["models-first"])]
    return [*cards, changed_card(model, before, t), *threshold_cards(model, before, size, t)]


def made_card(model: StoredModel, t: Texts) -> Card:
    """How a model came about."""
    said = model.metadata
    ms = "–" if model.latency_ms is None else f"{model.latency_ms:.1f} ms"
    int8 = model.race is not None and model.race[0] == "int8"
    lines = [
        t["models-trained"].format(
            labels=number(said.labels),
            network=said.network.upper(),
            seed=said.seed,
            version=said.code_version,
        ),
        t["models-from"].format(parent=said.parent[:12]) if said.parent else t["models-from-none"],
        t["models-size-int8" if int8 else "models-size"].format(
            kb=number(round(model.size / 1000)), ms=ms
        ),
        *(
            t["models-why"].format(time=when(use.wall_ns), reason=use.reason[:60])
            for use in model.uses[-2:]
        ),
    ]
    lead = t["models-came"].format(time=when(model.wall_ns))
    return Card(t["models-made"], lead, lines=tuple(lines))


def update_cards(model: StoredModel, refusal: str, frames: int, size: Size, t: Texts) -> list[Card]:
    """What became of a model that an update brought, and why no other one was taken."""
    cards = []
    if (probation := model.probation) is not None:
        now, before = probation.now, probation.before
        lines = [
            t["models-probation-unsure"].format(
                now=percent(now.unsure / now.frames) if now.frames else "–",
                before=percent(before.unsure / before.frames) if before.frames else "–",
            ),
            t["models-probation-else"].format(model=probation.before_id[:12]),
        ]
        lead = t["models-probation-lead"].format(done=number(now.frames), frames=number(frames))
        cards.append(Card(t["models-probation"], lead, lines=tuple(lines)))
    if model.refused is not None:
        cards.append(Card(t["models-refused"], "", lines=_wrapped(model.refused, size)))
    if refusal:
        cards.append(Card(t["models-exchange"], "", lines=_wrapped(refusal, size)))
    return cards


def _wrapped(words: str, size: Size) -> tuple[str, ...]:
    """As many lines of a text as a card has room for."""
    return tuple(wrap(words, 56)[: max(1, int(size.height / LINE))])


def measured_card(
    model: StoredModel, before: StoredModel | None, size: Size, t: Texts
) -> Card:  # fmt: skip
    """The shares that were measured, beside those of the model before."""
    title = t["models-measured"]
    metrics = model.metadata.metrics
    old = {} if before is None else before.metadata.metrics
    shares = [
        (metric_name(name, t), old.get(name), value)
        for name, value in metrics.items()
        if 0 <= value <= 1
    ]
    others = tuple(
        f"{metric_name(name, t)}: {value:g}"
        for name, value in metrics.items()
        if not 0 <= value <= 1
    )
    if not shares:
        return Card(title, "" if others else t["models-measured-none"], lines=others)
    words = "; ".join(
        f"{name} {percent(now)}" + ("" if then is None else f" ({percent(then)})")
        for name, then, now in shares
    )
    lead = "" if before is None else t["models-before"].format(model=when(before.wall_ns))
    size = size._replace(height=max(1.0, size.height - LINE * len(others)))
    return Card(title, lead, compared(size, f"{title}: {words}", shares), others)


def changed_card(model: StoredModel, before: StoredModel, t: Texts) -> Card:
    """What is different from the model before, in words."""
    now, then = model.metadata, before.metadata
    more = now.labels - then.labels
    which = "models-more-labels" if more > 0 else "models-fewer-labels"
    labels = t[which] if more else t["models-same-labels"]
    lines = [
        labels.format(count=number(abs(more)), before=number(then.labels), now=number(now.labels))
    ]
    for name, value in now.metrics.items():
        if name not in then.metrics or not (0 <= value <= 1 and 0 <= then.metrics[name] <= 1):
            continue
        points = round(100 * (value - then.metrics[name]), 1)
        word = t["models-better"] if points > 0 else t["models-worse"]
        words = word if points else t["models-equal"]
        lines.append(words.format(name=metric_name(name, t), points=f"{abs(points):g}"))
    lead = t["models-changed-since"].format(model=f"{before.id[:12]} ({when(before.wall_ns)})")
    return Card(t["models-changed"], lead, lines=tuple(lines))


def threshold_cards(
    model: StoredModel, before: StoredModel, size: Size, t: Texts
) -> list[Card]:  # fmt: skip
    """The thresholds of every class before and now, on as many cards as they take."""

    def words(value: float | None) -> str:
        return t["models-all-unsure"] if value is None else f"{value:.3g}"

    old = dict(zip(before.metadata.classes, before.metadata.thresholds, strict=True))
    lines = [
        t["models-threshold"].format(
            name=class_word(name, t),
            before=words(old[name]) if name in old else "–",
            now=words(value),
        )
        for name, value in zip(model.metadata.classes, model.metadata.thresholds, strict=True)
    ]
    fit = max(1, int(size.height / LINE))
    return [
        Card(t["models-thresholds"], t["models-thresholds-lead"], lines=tuple(lines[i : i + fit]))
        for i in range(0, len(lines), fit)
    ]
