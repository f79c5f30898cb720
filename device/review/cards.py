"""The cards of the Today page: a title, the answer in words, and a picture of the figures."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from markupsafe import Markup

from device.judging.kls import BINS_PER_DECADE, LEAST_BIN
from device.reports.day import Asked, Choice, ScoresOf
from device.reports.estimate import LEAST, Accuracy, Share
from device.reports.statistics import Agreement
from device.review.charts import (
    Histogram,
    Series,
    Size,
    columns,
    gauge,
    histograms,
    histograms_fit,
    interval,
    number,
    pareto,
    percent,
    stacked,
)
from device.review.layout import Rect
from device.review.texts import class_word
from device.store.shifts import Shift

LEAST_PAIRS = 10
"""Pairs of answers under which nothing is said of agreement."""
VERDICTS = {"pass": "light", "unsure": "hatched", "fail": "dark", "fault": "crossed"}
"""Verdicts as they are stacked, and how they look."""
HEAD, PADDING, LINE = 13.5, 2.0, 4.2
"""Room for the words of a card, around it, and of a further line, in millimetres; so in
cards.css."""

Texts = dict[str, str]


class Card(NamedTuple):
    """What stands in one card."""

    title: str
    lead: str
    picture: Markup | None = None
    lines: tuple[str, ...] = ()


def room_in(card: Rect) -> Size:
    """What a card leaves for its picture."""
    return Size(card.width - 2 * PADDING, card.height - HEAD - 2 * PADDING)


def moment(ns: int) -> str:
    """A moment without its year, in local time."""
    return f"{datetime.fromtimestamp(ns / 1e9):%m-%d %H:%M}"


def span(shift: Shift) -> str:
    """A shift, in local time."""
    return f"{moment(shift.begin_ns)}–{datetime.fromtimestamp(shift.end_ns / 1e9):%H:%M}"


def nothing(title: str, t: Texts) -> Card:
    """A card without figures."""
    return Card(title, t["today-nothing"])


def verdict_card(quarters: list[Counter[str]], choice: Choice, size: Size, t: Texts) -> Card:
    """Verdicts over the shift."""
    title = t["today-verdicts"]
    totals = sum(quarters, Counter[str]())
    frames = totals.total()
    if not frames:
        return nothing(title, t)
    series = [
        Series(t[f"today-{verdict}"], fill, [quarter[verdict] for quarter in quarters])
        for verdict, fill in VERDICTS.items()
    ]
    begins = [
        datetime.fromtimestamp(choice.shift.begin_ns / 1e9 + i * 900) for i in range(len(quarters))
    ]
    ticks = [f"{begin:%H:%M}" if i % 4 == 0 else "" for i, begin in enumerate(begins)]
    worst = max(range(len(quarters)), key=lambda i: quarters[i]["fail"])
    lead = t["today-verdicts-lead"].format(
        frames=number(frames), share=percent(totals["pass"] / frames)
    )
    words = ", ".join(f"{one.name} {number(int(sum(one.values)))}" for one in series)
    label = f"{title}: {words}"
    if quarters[worst]["fail"]:
        label += ". " + t["today-worst"].format(
            time=f"{begins[worst]:%H:%M}", count=number(quarters[worst]["fail"])
        )
    return Card(title, lead, stacked(size, label, series, ticks))


def defect_card(rows: list[tuple[str, int]], size: Size, t: Texts) -> Card:
    """Failed frames by class."""
    title = t["today-defects"]
    if not rows:
        return nothing(title, t)
    rows = [(class_word(name, t), count) for name, count in rows]
    total = sum(count for _, count in rows)
    lead = t["today-defects-lead"].format(
        count=number(total), name=rows[0][0], share=percent(rows[0][1] / total)
    )
    reached = 0
    words = []
    for name, count in rows:
        reached += count
        words.append(
            t["today-defects-row"].format(
                name=name, count=number(count), share=percent(reached / total)
            )
        )
    label = f"{title}: {'; '.join(words)}"
    return Card(title, lead, pareto(size, label, rows, t["today-others"]))


def asked_card(
    found: Sequence[tuple[Shift, Asked]], chosen: Shift, size: Size, t: Texts
) -> Card:  # fmt: skip
    """The share of patches asked about in the last shifts, the latest first in `found`."""
    title = t["today-asked"]
    if not any(asked.judged for _, asked in found):
        return nothing(title, t)
    now = next(asked for shift, asked in found if shift == chosen)
    lead = (
        t["today-nothing"]
        if now.share is None
        else t["today-asked-lead"].format(
            share=percent(now.share), asked=number(now.asked), judged=number(now.judged)
        )
    )
    old_first = found[::-1]
    words = [
        f"{span(shift)} {'–' if asked.share is None else percent(asked.share)}"
        for shift, asked in old_first
    ]
    picture = columns(
        size,
        f"{title}: {'; '.join(words)}",
        [asked.share for _, asked in old_first],
        [moment(shift.begin_ns)[-5:] for shift, _ in old_first],
        [shift for shift, _ in old_first].index(chosen),
    )
    return Card(title, lead, picture)


def score_cards(found: Sequence[ScoresOf], size: Size, t: Texts) -> list[Card]:
    """The scores of every class against its threshold, on as many cards as they take."""
    title = t["today-scores"]
    if not any(one.patches for one in found):
        return [nothing(title, t)]
    fit = histograms_fit(size)
    pages = [found[i : i + fit] for i in range(0, len(found), fit)]
    return [_score_card(page, size, t) for page in pages]


def _score_card(found: Sequence[ScoresOf], size: Size, t: Texts) -> Card:
    many = [
        Histogram(
            class_word(one.class_name, t),
            one.bins,
            _place(one.threshold),
            _over(one, t),
            one.usual,
        )
        for one in found
    ]
    words = "; ".join(
        f"{class_word(one.class_name, t)} ({number(one.patches)}): {_over(one, t)}" for one in found
    )  # fmt: skip
    label = f"{t['today-scores']}: {words}"
    return Card(t["today-scores"], t["today-scores-lead"], histograms(size, label, many))


def _place(threshold: float | None) -> float | None:
    """Where a threshold is, in bins from the first."""
    if threshold is None:
        return None
    if threshold <= 0:
        return 0.0
    return max(0.0, BINS_PER_DECADE * math.log10(threshold) - LEAST_BIN)


def _over(one: ScoresOf, t: Texts) -> str:
    if one.share_over is None:
        return t["today-nothing"]
    if one.threshold is None:
        return t["today-no-threshold"]
    if one.usual_over is None:
        return t["today-over"].format(share=percent(one.share_over))
    return t["today-over-usual"].format(
        share=percent(one.share_over), usual=percent(one.usual_over)
    )


def budget_card(given: int, limit: int, size: Size, t: Texts) -> Card:
    """Answers given in the shift, of those that may be asked for."""
    title = t["today-budget"]
    if limit == 0:
        lead = t["today-budget-free"].format(given=number(given))
        return Card(title, lead)
    left = max(0, limit - given)
    lead = t["today-budget-lead"].format(
        given=number(given), limit=number(limit), left=number(left)
    )
    picture = gauge(
        size,
        f"{title}: {lead}",
        given / limit,
        f"{number(given)} / {number(limit)}",
        ("0", number(limit)),
    )
    return Card(title, lead, picture)


def accuracy_card(found: Accuracy, size: Size, t: Texts) -> Card:
    """How often a model is right, as its spot checks and answered questions let one estimate."""
    title = t["today-accuracy"]
    share = found.overall
    left_out = t["today-left-out"].format(cant_tell=found.cant_tell, waiting=found.waiting)
    if share.value is None:
        few = t["today-accuracy-few"].format(count=share.checks, least=LEAST)
        return Card(title, few, lines=(left_out,) if found.cant_tell + found.waiting else ())
    lead = accuracy_words(share, t)
    label = f"{title}: {percent(share.value)}; {lead}; {left_out}"
    scale = [(place / 100, f"{place} %") for place in (0, 25, 50, 75, 100)]
    picture = interval(size, label, share.value, share.low, share.high, percent(share.value), scale)
    return Card(title, f"{lead} {left_out}", picture)


def accuracy_words(share: Share, t: Texts) -> str:
    """An estimated share: its interval, and what it rests on."""
    return t["today-accuracy-lead"].format(
        low=percent(share.low),
        high=percent(share.high),
        count=number(share.checks),
        asked=number(share.asked),
    )


def class_accuracy_cards(found: Accuracy, size: Size, t: Texts) -> list[Card]:
    """How often a model is right in what it calls each class, and finds what is of it."""
    shown = (
        (t["accuracy-precision"], found.precision),
        (t["accuracy-recall"], found.recall),
    )
    lines = [
        text.format(
            name=class_word(name, t),
            low=percent(share.low),
            high=percent(share.high),
            count=number(share.checks),
        )
        for text, shares in shown
        for name, share in shares.items()
        if share.checks >= LEAST
    ]
    fit = max(1, int(size.height / LINE))
    return [
        Card(t["accuracy-classes"], t["accuracy-classes-lead"], lines=tuple(lines[i : i + fit]))
        for i in range(0, len(lines), fit)
    ]


def agreement_card(found: Agreement, size: Size, t: Texts) -> Card:
    """How far operators agree on what both were asked."""
    title = t["today-agreement"]
    if found.pairs < LEAST_PAIRS:
        few = t["today-agreement-few"].format(count=found.pairs, least=LEAST_PAIRS)
        return Card(title, few)
    share = t["today-agreement-lead"].format(
        alike=number(found.alike), count=number(found.pairs)
    )  # fmt: skip
    if found.kappa is None:
        one_kind = t["today-agreement-one"]
        return Card(title, f"{share} {one_kind}")
    how = (
        t["today-cohen"].format(one=found.people[0], other=found.people[1])
        if found.people
        else t["today-fleiss"]
    )
    kappa = f"κ = {found.kappa:.2f}"
    scale = [(0.0, t["today-chance"]), (0.5, "0.5"), (1.0, t["today-same"])]
    value = max(0.0, found.kappa)
    picture = interval(size, f"{title}: {kappa}; {share} {how}", value, 0, value, kappa, scale)
    return Card(title, f"{share} {how}", picture)


def pages_of(cards: Iterable[Card], fit: int) -> list[list[Card]]:
    """Cards as pages of so many; at least one page."""
    everything = list(cards)
    return [everything[i : i + fit] for i in range(0, len(everything), fit)] or [[]]
