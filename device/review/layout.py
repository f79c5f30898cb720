"""Where everything on the touch page stands, in millimetres: sizes for gloves, no scrolling.

The panel's size in millimetres comes from the settings; what does not fit goes on further pages.
"""

from dataclasses import dataclass
from itertools import product

from config.settings import Review

MM_PER_INCH = 25.4
EDGE = 1.0
GAP = 5.0
CONTROL = 20.0
"""Least width and height of every control, in millimetres, like all lengths here."""
PRIMARY_WIDTH, PRIMARY_HEIGHT = 40.0, 25.0
"""Least size of an answer."""
HIGHEST_BUTTON = 40.0
HEADER = 5.0
LEAST_PICTURE = 30.0
LEAST_FRAME = 22.0

TOOLS = ("undo", "skip", "cant-tell", "something-new", "more", "menu")
"""The controls at the lower edge; `more` only where the answers take several pages."""
TABS = ("live", "questions", "today", "models", "people")
"""The pages besides the questions, and the way to them, at the lower edge of all others."""
CARD_WIDTH, CARD_HEIGHT = 70.0, 36.0
"""Least size of a picture of figures."""
BAR = 4
"""Controls beside the pictures of figures."""


@dataclass(frozen=True, slots=True)
class Rect:
    """A rectangle of the panel, in millimetres from its upper left corner."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Layout:
    """The rectangles of the review page and of the pages behind it."""

    width: float
    height: float
    header: Rect
    picture: Rect
    frame: Rect | None
    """Where the whole frame stands; None: it is laid over a corner of the heat map."""
    message: Rect
    """What is shown instead of picture and answers when there is nothing to ask."""
    answers: list[Rect]
    """One page of answers, in reading order."""
    tools: dict[str, Rect]
    choices: list[Rect]
    """The page of names: cells in reading order."""
    back: Rect
    entry: Rect
    save: Rect
    keys: list[Rect]
    """The page to write a name: back, the text, save, and keys in reading order."""
    under: Rect
    """What there is besides back, text and save."""
    pin: list[Rect]
    """The same as the twelve keys of a PIN pad."""
    tabs: dict[str, Rect]
    """The ways to the other pages, on every page but the questions'."""
    content: Rect
    """What such a page has between header and tabs."""
    cells: list[Rect]
    """The content as buttons, in reading order."""
    cards: list[Rect]
    """The content as pictures of figures, in reading order; at least one."""
    stage: Rect
    """The same room as one."""
    bar: list[Rect]
    """The controls of such a page."""
    live: dict[str, Rect]
    """The live page: `tile`, `facts`, and the controls `sound` and `lot`."""
    shots: list[Rect]
    """The last frames on the live page, the latest first."""


def panel_mm(review: Review) -> tuple[float, float]:
    """Width and height of the panel in millimetres."""
    scale = 1 / px_per_mm(review)
    return review.panel_width_px * scale, review.panel_height_px * scale


def px_per_mm(review: Review) -> float:
    """Pixels per millimetre of the panel."""
    diagonal: float = (review.panel_width_px**2 + review.panel_height_px**2) ** 0.5
    return diagonal / (review.panel_inch * MM_PER_INCH)


def arrange(width: float, height: float, answers: int, *, frame: bool) -> Layout:
    """Lay out a panel of this size for so many answers; `frame`: the whole frame is shown too.

    The picture becomes as large as it can with at least four answers beside or under it; of
    pictures about as large, the arrangement that leaves less of the panel empty.
    """
    candidates = [
        candidate
        for columns, rows, beside in product(range(1, 5), range(1, 7), (True, False))
        if columns * rows > 1
        and (candidate := _candidate(width, height, answers, columns, rows, beside=beside))
    ]
    best = max(candidates, key=lambda c: (c.enough, round(c.picture.width / 5), -c.spare, -c.empty))
    return _complete(width, height, best, frame=frame)


@dataclass(frozen=True, slots=True)
class _Candidate:
    enough: int
    """Answers on a page, but no more than four: so many are wanted at once."""
    spare: int
    """Cells too many or too few."""
    empty: float
    """Area under or beside the picture that holds nothing, in square millimetres."""
    columns: int
    rows: int
    header: Rect
    picture: Rect
    area: Rect
    """Room for the answers."""
    tools: dict[str, Rect]


def _candidate(
    width: float, height: float, answers: int, columns: int, rows: int, *, beside: bool
) -> _Candidate | None:
    """One way to arrange the page; None: it does not fit."""
    cells = columns * rows
    names = [name for name in TOOLS if name != "more" or cells < answers]
    tools = _tools(width, height, names)
    header = Rect(EDGE, EDGE, width - 2 * EDGE, max(HEADER, min(10.0, 0.06 * height)))
    top = header.y + header.height + EDGE
    bottom = min(rect.y for rect in tools.values()) - GAP
    least_width = columns * (PRIMARY_WIDTH + GAP) - GAP
    least_height = rows * (PRIMARY_HEIGHT + GAP) - GAP
    inner = width - 2 * EDGE
    if beside:
        side = min(inner - GAP - least_width, bottom - top)
        area = Rect(EDGE + side + GAP, top, inner - side - GAP, bottom - top)
    else:
        side = min(inner, bottom - top - GAP - least_height)
        area = Rect(EDGE, top + side + GAP, inner, bottom - top - side - GAP)
    # A rounding error of lengths is no reason to refuse.
    if side < LEAST_PICTURE or area.width < least_width - 1e-9 or area.height < least_height - 1e-9:
        return None
    picture = Rect(EDGE if beside else (width - side) / 2, top, side, side)
    empty = side * ((bottom - top if beside else inner) - side)
    return _Candidate(
        enough=min(cells, answers, 4),
        spare=abs(answers - cells),
        empty=empty,
        columns=columns,
        rows=rows,
        header=header,
        picture=picture,
        area=area,
        tools=tools,
    )


def _complete(width: float, height: float, best: _Candidate, *, frame: bool) -> Layout:
    area, picture = best.area, best.picture
    beside = picture.y == area.y
    pane = None
    if frame and beside:
        free = area.height - best.rows * (PRIMARY_HEIGHT + GAP)
        if free >= LEAST_FRAME:
            pane = Rect(area.x, area.y, area.width, free)
            area = Rect(area.x, area.y + free + GAP, area.width, area.height - free - GAP)
    elif frame and width - 2 * EDGE - picture.width - GAP >= LEAST_FRAME:
        picture = Rect(EDGE, picture.y, picture.width, picture.height)
        left = EDGE + picture.width + GAP
        pane = Rect(left, picture.y, width - EDGE - left, picture.height)
    bottom = min(rect.y for rect in best.tools.values()) - GAP
    inner = width - 2 * EDGE
    top = EDGE + PRIMARY_HEIGHT + GAP
    under = Rect(EDGE, top, inner, height - EDGE - top)
    save = Rect(width - EDGE - PRIMARY_WIDTH, EDGE, PRIMARY_WIDTH, PRIMARY_HEIGHT)
    back = Rect(EDGE, EDGE, CONTROL + GAP, PRIMARY_HEIGHT)
    left = back.x + back.width + GAP
    tabs = _tools(width, height, list(TABS))
    content = Rect(EDGE, picture.y, inner, min(r.y for r in tabs.values()) - GAP - picture.y)
    stage, bar, cards = _cards(content)
    live, shots = _live(content)
    return Layout(
        width=width,
        height=height,
        header=best.header,
        picture=picture,
        frame=pane,
        message=Rect(EDGE, picture.y, inner, bottom - picture.y),
        answers=_grid(area, best.columns, best.rows),
        tools=best.tools,
        choices=_filled(
            Rect(EDGE, picture.y, inner, height - EDGE - picture.y), PRIMARY_WIDTH, PRIMARY_HEIGHT
        ),
        back=back,
        entry=Rect(left, EDGE, save.x - GAP - left, PRIMARY_HEIGHT),
        save=save,
        keys=_filled(under, CONTROL, CONTROL),
        under=under,
        pin=_pad(under),
        tabs=tabs,
        content=content,
        cells=_filled(content, PRIMARY_WIDTH, PRIMARY_HEIGHT),
        cards=cards,
        stage=stage,
        bar=bar,
        live=live,
        shots=shots,
    )


def _live(content: Rect) -> tuple[dict[str, Rect], list[Rect]]:
    """The verdict's tile as large as can be; beside or under it facts, frames and controls."""
    x, y, width, height = content.x, content.y, content.width, content.height
    if width > height:
        tile = Rect(x, y, min(height, 0.36 * width), height)
        x, width = x + tile.width + GAP, width - tile.width - GAP
    else:
        tile = Rect(x, y, width, 0.36 * height)
        y, height = y + tile.height + GAP, height - tile.height - GAP
    controls = _grid(Rect(x, y + height - CONTROL, width, CONTROL), 2, 1)
    tall = min(max(9.0, 0.3 * (height - CONTROL - GAP)), width / 2.7)
    top = y + height - CONTROL - GAP - tall
    count = int((width + EDGE) / (1.25 * tall + EDGE))
    wide = (width - (count - 1) * EDGE) / count
    places = {
        "tile": tile,
        "facts": Rect(x, y, width, top - EDGE - y),
        "sound": controls[0],
        "lot": controls[1],
    }
    return places, [Rect(x + i * (wide + EDGE), top, wide, tall) for i in range(count)]


def _cards(content: Rect) -> tuple[Rect, list[Rect], list[Rect]]:
    """Room for pictures, the controls under or beside it, and the pictures.

    Of all ways that with the most pictures, and of those that with the largest.
    """
    ways = []
    for columns in range(1, BAR + 1):
        rows = -(-BAR // columns)
        wide, tall = (n * (CONTROL + GAP) - GAP for n in (columns, rows))
        if wide <= content.width:
            height = content.height - GAP - tall
            under = Rect(content.x, content.y + height + GAP, content.width, tall)
            ways.append((Rect(content.x, content.y, content.width, height), under, columns, rows))
        if tall <= content.height:
            width = content.width - GAP - wide
            beside = Rect(content.x + width + GAP, content.y, wide, content.height)
            ways.append((Rect(content.x, content.y, width, content.height), beside, columns, rows))
    # A quarter of the width, a third of the height: large panels show larger pictures, not more.
    found = [
        (
            stage,
            _grid(area, columns, rows)[:BAR],
            _filled(
                stage,
                max(CARD_WIDTH, content.width / 4),
                max(CARD_HEIGHT, content.height / 3),
                highest=stage.height,
            ),
        )
        for stage, area, columns, rows in ways
    ]
    return max(
        found,
        key=lambda way: (
            _holds(way[2][0]),
            len(way[2]),
            way[0].width * way[0].height,
        ),
    )


def _holds(card: Rect) -> bool:
    return card.width >= CARD_WIDTH and card.height >= CARD_HEIGHT


def _tools(width: float, height: float, names: list[str]) -> dict[str, Rect]:
    """Controls along the lower edge, in as many rows as they need."""
    inner = width - 2 * EDGE
    fit = int((inner + GAP) / (CONTROL + GAP))
    rows = -(-len(names) // fit)
    columns = -(-len(names) // rows)
    tall = rows * (CONTROL + GAP) - GAP
    cells = _grid(Rect(EDGE, height - EDGE - tall, inner, tall), columns, rows)
    return dict(zip(names, cells, strict=False))


def _grid(area: Rect, columns: int, rows: int, highest: float = HIGHEST_BUTTON) -> list[Rect]:
    """Cells that fill an area, with gaps, none higher than a button should be."""
    wide = (area.width - (columns - 1) * GAP) / columns
    tall = min(highest, (area.height - (rows - 1) * GAP) / rows)
    return [
        Rect(area.x + column * (wide + GAP), area.y + row * (tall + GAP), wide, tall)
        for row in range(rows)
        for column in range(columns)
    ]


def _filled(
    area: Rect, least_width: float, least_height: float, highest: float = HIGHEST_BUTTON
) -> list[Rect]:
    """As many cells of a least size as an area holds."""
    columns = max(1, int((area.width + GAP) / (least_width + GAP)))
    rows = max(1, int((area.height + GAP) / (least_height + GAP)))
    return _grid(area, columns, rows, highest)


def _pad(area: Rect) -> list[Rect]:
    """Twelve keys, as on a telephone where the area is high enough."""
    columns = next(n for n in (3, 4, 6) if (12 // n) * (CONTROL + GAP) - GAP <= area.height)
    return _grid(area, columns, 12 // columns)


def stylesheet(review: Review, layout: Layout) -> str:
    """The layout as CSS: a class `at-…` for every rectangle, and the millimetre as `--mm`."""
    scale = px_per_mm(review)
    places = {
        "at-header": layout.header,
        "at-picture": layout.picture,
        "at-frame": layout.frame or _inset(layout.picture),
        "at-message": layout.message,
        "at-back": layout.back,
        "at-entry": layout.entry,
        "at-save": layout.save,
        "at-under": layout.under,
        "at-content": layout.content,
        "at-stage": layout.stage,
    }
    places |= {f"at-tool-{name}": rect for name, rect in layout.tools.items()}
    places |= {f"at-tab-{name}": rect for name, rect in layout.tabs.items()}
    places |= {f"at-live-{name}": rect for name, rect in layout.live.items()}
    for kind in ("answers", "choices", "keys", "cells", "cards", "bar", "shots", "pin"):
        places |= {f"at-{kind}-{i}": rect for i, rect in enumerate(getattr(layout, kind))}
    sizes = {
        "mm": 1.0,
        "header-text": min(layout.width / 42, 0.65 * layout.header.height),
        "answer-text": min(max(layout.answers[0].width / 9.5, 5.0), 8.0),
        "tile-text": min(layout.live["tile"].width / 4, layout.live["tile"].height / 3),
        "fact-text": min(layout.live["facts"].height / 5.2, 6.0),
        "tool-text": min(max(layout.tools["undo"].width / 6.6, 3.4), 5.5),
    }
    root = "".join(f"--{name}: {size * scale:.3f}px; " for name, size in sizes.items())
    lines = [
        f":root {{ {root}--width: {review.panel_width_px}px; "
        f"--height: {review.panel_height_px}px }}"
    ]
    lines += [
        f".{name} {{ left: {r.x * scale:.3f}px; top: {r.y * scale:.3f}px; "
        f"width: {r.width * scale:.3f}px; height: {r.height * scale:.3f}px }}"
        for name, r in places.items()
    ]
    return "\n".join(lines) + "\n"


def _inset(picture: Rect) -> Rect:
    """The lower right corner of the picture, for the frame over the heat map."""
    side = 0.45 * picture.width
    right, bottom = picture.x + picture.width, picture.y + picture.height
    return Rect(right - side, bottom - side, side, side)
