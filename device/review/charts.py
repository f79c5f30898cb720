"""Pictures of figures as SVG: told apart by pattern and words, never by colour alone.

All lengths are millimetres, as everywhere on the panel: a picture's view box is its place. Every
picture says its figures in words too (`aria-label`).
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from markupsafe import Markup

SMALL = 2.8
"""Height of the smallest text, in millimetres."""
FILLS = {
    "light": "#b3b9bf",
    "hatched": "url(#hatched)",
    "dark": "#15181b",
    "crossed": "url(#crossed)",
    "white": "#ffffff",
}
"""The ways to fill a bar; the patterns stand in `patterns.svg`."""


class Size(NamedTuple):
    """Of a picture, in millimetres."""

    width: float
    height: float


class Series(NamedTuple):
    """What is stacked, and its name."""

    name: str
    fill: str
    values: Sequence[float]


def number(value: int) -> str:
    """A count with its thousands apart."""
    return f"{value:,}"


def percent(share: float) -> str:
    """A share from 0 to 1; what is not all is never 100 %, what is not nothing never 0 %."""
    value = 100 * share
    if 0 < value < 0.001:
        return "<0.001 %"
    if 99.9 < value < 100:
        return ">99.9 %"
    if 0 < value < 1:
        return f"{value:.2g} %"
    places = 1 if 1 <= value < 9.95 or 99 < value < 100 else 0
    return f"{value:.{places}f} %"


def wide(words: str, size: float = SMALL) -> float:
    """About how wide a text is; a Chinese character is as wide as it is high."""
    return sum(size * (1.0 if c >= "⺀" else 0.63) for c in words)


def cut(words: str, width: float, size: float = SMALL) -> str:
    """A text, shortened until it fits."""
    if wide(words, size) <= width:
        return words
    while words and wide(words + "…", size) > width:
        words = words[:-1]
    return words + "…"


def picture(size: Size, label: str, parts: Iterable[Markup]) -> Markup:
    """An SVG that says `label` to those who cannot see it."""
    return Markup(
        '<svg role="img" aria-label="{}" viewBox="0 0 {:.2f} {:.2f}" '
        'width="100%" height="100%">{}</svg>'
    ).format(label, *size, Markup("").join(parts))


def text(x: float, y: float, words: str, anchor: str = "start", size: float = SMALL) -> Markup:
    """Words on a base line."""
    return Markup('<text x="{:.2f}" y="{:.2f}" font-size="{}" text-anchor="{}">{}</text>').format(
        x, y, size, anchor, words
    )


def centred(x: float, y: float, words: str, size: Size) -> Markup:
    """Words around a place, and within the picture."""
    half = wide(words) / 2
    return text(min(max(x, half), size.width - half), y, words, "middle")


def bar(x: float, y: float, width: float, height: float, fill: str) -> Markup:
    """A filled rectangle with an edge; nothing where it has no area."""
    if width <= 0 or height <= 0:
        return Markup("")
    return Markup(
        '<rect x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}" fill="{}" '
        'stroke="#4a5057" stroke-width="0.2"/>'
    ).format(x, y, width, height, FILLS[fill])


def line(x1: float, y1: float, x2: float, y2: float, width: float = 0.25, dash: str = "") -> Markup:
    """A line, dashed as `dash` says."""
    return Markup(
        '<line x1="{:.2f}" y1="{:.2f}" x2="{:.2f}" y2="{:.2f}" stroke="#15181b" '
        'stroke-width="{}" stroke-dasharray="{}"/>'
    ).format(x1, y1, x2, y2, width, dash)


def stacked(size: Size, label: str, series: Sequence[Series], ticks: Sequence[str]) -> Markup:
    """Columns of stacked values, with a legend; `ticks` names columns, where not empty."""
    parts: list[Markup] = []
    x, y = 0.0, SMALL
    for one in series:
        total = f"{one.name} {number(int(sum(one.values)))}"
        if x > 0 and x + 4 + wide(total) > size.width:
            x, y = 0.0, y + 1.45 * SMALL
        parts += [bar(x, y - 2.4, 2.8, 2.8, one.fill), text(x + 3.8, y, total)]
        x += 4 + wide(total) + 2.5
    top, bottom = y + 2.2, size.height - SMALL - 1.2
    totals = [sum(values) for values in zip(*(one.values for one in series), strict=True)]
    most = max(totals, default=0)
    left = wide(number(int(most))) + 1
    step = (size.width - left) / len(totals)
    for i in range(len(totals)):
        height = 0.0
        for one in series:
            tall = (bottom - top) * one.values[i] / most if most else 0.0
            height += tall
            parts.append(bar(left + (i + 0.1) * step, bottom - height, 0.8 * step, tall, one.fill))
    free = 0.0
    for i, words in enumerate(ticks):
        at = left + i * step
        if words and at >= free and at + wide(words) / 2 <= size.width:
            parts += [
                line(at, bottom, at, bottom + 0.8),
                text(max(at, left / 2), size.height - 0.5, words, "middle"),
            ]
            free = at + wide(words) + 2
    parts += [
        line(left, bottom, size.width, bottom),
        text(left - 1, top + SMALL - 0.6, number(int(most)), "end"),
        text(left - 1, bottom, "0", "end"),
    ]
    return picture(size, label, parts)


def pareto(size: Size, label: str, rows: Sequence[tuple[str, int]], others: str) -> Markup:
    """Bars by falling count, each with its count and what all down to it make up together.

    What does not fit is summed up under the name `others`.
    """
    fit = max(1, int(size.height / 5.2))
    shown = list(rows)
    if len(shown) > fit:
        shown = [*rows[: fit - 1], (others, sum(count for _, count in rows[fit - 1 :]))]
    total = sum(count for _, count in rows)
    tall = min(7.5, size.height / len(shown))
    names = min(max(wide(name, 3.2) for name, _ in shown), 0.34 * size.width) + 1
    counts = wide(number(shown[0][1])) + 1.5
    sums = wide("100 %") + 4.5
    room = size.width - names - counts - sums
    most = max(count for _, count in shown)
    parts: list[Markup] = []
    reached = 0
    points: list[tuple[float, float]] = []
    for i, (name, count) in enumerate(shown):
        reached += count
        middle = (i + 0.5) * tall
        width = room * count / most
        parts += [
            text(0, middle + 1.1, cut(name, names - 1, 3.2), size=3.2),
            bar(names, middle - 0.36 * tall, width, 0.72 * tall, "light"),
            text(names + width + 1, middle + 1, number(count)),
            text(size.width, middle + 1, f"Σ {percent(reached / total)}", "end"),
        ]
        points.append((names + room * reached / total, middle))
    if len(points) > 1:
        way = " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
        parts.append(
            Markup(
                '<polyline points="{}" fill="none" stroke="#15181b" stroke-width="0.35" '
                'stroke-dasharray="1 0.7"/>'
            ).format(way)
        )
        parts += [
            Markup('<circle cx="{:.2f}" cy="{:.2f}" r="0.7" fill="#15181b"/>').format(x, y)
            for x, y in points
        ]
    return picture(size, label, parts)


def columns(
    size: Size, label: str, values: Sequence[float | None], names: Sequence[str], dark: int
) -> Markup:
    """Columns of shares with their values over them; the one numbered `dark` stands out."""
    bottom = size.height - 1.3 * SMALL
    top = SMALL + 1
    most = max((value or 0 for value in values), default=0)
    step = size.width / len(values)
    parts = [line(0, bottom, size.width, bottom)]
    for i, (value, name) in enumerate(zip(values, names, strict=True)):
        middle = (i + 0.5) * step
        tall = (bottom - top) * (value or 0) / most if most else 0.0
        words = "–" if value is None else percent(value)
        fill = "dark" if i == dark else "light"
        parts += [
            bar(middle - 0.3 * step, bottom - tall, 0.6 * step, tall, fill),
            centred(middle, bottom - tall - 0.8, words, size),
            centred(middle, size.height - 0.4, cut(name, step), size),
        ]  # fmt: skip
    return picture(size, label, parts)


def gauge(size: Size, label: str, share: float, large: str, ends: tuple[str, str]) -> Markup:
    """How much of something is used: a bar, a large figure over it, words at its ends."""
    tall = min(9.0, size.height / 3)
    y = size.height - 1.6 * SMALL - tall
    parts = [
        text(size.width / 2, y - 4, large, "middle", max(SMALL, min(9.0, 0.8 * (y - 4)))),
        bar(0.2, y, size.width - 0.4, tall, "white"),
        bar(0.2, y, (size.width - 0.4) * min(1.0, share), tall, "dark"),
        text(0.2, size.height - 0.6, ends[0]),
        text(size.width - 0.2, size.height - 0.6, ends[1], "end"),
    ]
    return picture(size, label, parts)


def interval(
    size: Size,
    label: str,
    value: float,
    low: float,
    high: float,
    large: str,
    scale: Sequence[tuple[float, str]],
) -> Markup:
    """A value between its bounds on a scale, which is (place from 0 to 1, words) each."""
    y = size.height - 3 * SMALL - 2
    left, width = 6.0, size.width - 12.0
    parts = [
        text(size.width / 2, y - 5, large, "middle", max(SMALL, min(9.0, 0.8 * (y - 5)))),
        line(left, y + 3, left + width, y + 3),
    ]
    for place, words in scale:
        x = left + width * place
        parts += [line(x, y + 3, x, y + 4), centred(x, y + 4 + 1.2 * SMALL, words, size)]
    if high > low:
        parts.append(bar(left + width * low, y - 1.5, width * (high - low), 3, "light"))
    x = left + width * value
    parts.append(
        Markup('<path d="M{:.2f} {:.2f}l2 -2.6l-2 -2.6l-2 2.6z" fill="#15181b"/>').format(
            x, y + 2.6
        )
    )
    return picture(size, label, parts)


class Histogram(NamedTuple):
    """One of several small ones."""

    name: str
    values: Sequence[int]
    mark: float | None
    """Where the threshold is, in bins from the first; None: there is none."""
    words: str
    usual: Sequence[int] = ()
    """What it is held against, in the same bins; drawn as an outline of the same area."""


HISTOGRAM = Size(30.0, 20.0)
"""Least size of one."""


def histograms_fit(size: Size) -> int:
    """How many small histograms a picture holds."""
    return max(1, int((size.width + 3) / (HISTOGRAM.width + 3))) * max(
        1, int((size.height + 2) / (HISTOGRAM.height + 2))
    )


def histograms(size: Size, label: str, many: Sequence[Histogram]) -> Markup:
    """Small histograms side by side; a dashed line is the threshold, what is over it is dark.

    The outline is what was usual before.
    """
    most_columns = max(1, int((size.width + 3) / (HISTOGRAM.width + 3)))
    rows = -(-len(many) // most_columns)
    across = -(-len(many) // rows)
    wide_each = (size.width - 3 * (across - 1)) / across
    tall_each = (size.height - 2 * (rows - 1)) / rows
    parts: list[Markup] = []
    for i, one in enumerate(many):
        x, y = (i % across) * (wide_each + 3), (i // across) * (tall_each + 2)
        top, bottom = y + 2 * SMALL + 2.4, y + tall_each - 0.4
        step = wide_each / len(one.values)
        usual = _same_area(one.usual, one.values)
        most = max([*one.values, *usual])
        parts += [
            text(x, y + SMALL, cut(one.name, wide_each)),
            text(x, y + 2.25 * SMALL, cut(one.words, wide_each)),
            line(x, bottom, x + wide_each, bottom),
        ]
        for j, value in enumerate(one.values):
            tall = (bottom - top) * value / most if most else 0.0
            over = one.mark is None or j + 0.5 >= one.mark
            parts.append(
                bar(x + j * step, bottom - tall, 0.9 * step, tall, "dark" if over else "light")
            )
        if usual:
            parts.append(_outline(x, bottom, step, [(bottom - top) * v / most for v in usual]))
        if one.mark is not None:
            at = x + step * min(max(one.mark, 0), len(one.values))
            parts.append(line(at, top - 1, at, bottom, 0.4, "1 0.6"))
    return picture(size, label, parts)


def _same_area(usual: Sequence[int], values: Sequence[int]) -> list[float]:
    """Another count of the same bins, scaled to as many; empty: there is nothing to compare."""
    if not sum(usual) or not sum(values):
        return []
    scale = sum(values) / sum(usual)
    return [scale * value for value in usual]


def _outline(x: float, bottom: float, step: float, heights: Sequence[float]) -> Markup:
    """The upper edge of columns, light under dark so that it is seen on both."""
    path = f"M{x:.2f} {bottom:.2f}" + "".join(
        f"V{bottom - tall:.2f}H{x + (i + 1) * step:.2f}" for i, tall in enumerate(heights)
    )
    return Markup('<path d="{0}" fill="none" stroke="#ffffff" stroke-width="0.7"/>').format(
        path
    ) + Markup('<path d="{0}" fill="none" stroke="#15181b" stroke-width="0.3"/>').format(path)


def compared(
    size: Size, label: str, rows: Sequence[tuple[str, float | None, float | None]]
) -> Markup:
    """Shares before (light) and after (dark), one under the other: (name, before, after)."""
    tall = min(11.0, size.height / len(rows))
    names = min(max(wide(name) for name, _, _ in rows), 0.4 * size.width) + 1.5
    room = size.width - names - wide("99.9 %") - 1.5
    parts: list[Markup] = []
    for i, (name, *values) in enumerate(rows):
        y = i * tall
        parts.append(text(0, y + tall / 2 + 1, cut(name, names - 1.5)))
        thick = min(4.0, 0.44 * tall)
        for j, value in enumerate(values):
            if value is None:
                continue
            middle = y + tall / 2 + (j - 0.5) * thick
            width = room * min(1.0, max(0.0, value))
            parts += [
                bar(names, middle - 0.42 * thick, width, 0.84 * thick, ("light", "dark")[j]),
                text(names + width + 1, middle + 1, percent(value)),
            ]
    return picture(size, label, parts)
