"""The Today page in a real browser: its numbers, its filters, and what it hands out."""

import csv
import hashlib
import io
import json
import re
import time
import zipfile
from collections.abc import Iterator
from html import unescape

import httpx
import pytest
from playwright.sync_api import Browser, Page

from config.settings import Settings
from device.models.models_in_use import in_force
from device.reports.day import HOUR_NS, MINUTE_NS
from device.review.cards import moment
from device.review.charts import Histogram, Size, cut, histograms, percent, wide
from device.review.downloads import csv_lines, harmless
from device.store.database import STORE_FILE, open_store
from device.store.shifts import last_shifts
from device.store.trail import begin_lot
from tests.device.review.conftest import copied, serving
from tests.device.review.glass import (
    arrive,
    on_panel,
    on_two_glasses,
    page_of,
    settle,
    shown_screen,
    tap,
)
from tests.device.review.shop import PART, work_shifts


@pytest.fixture(scope="module")
def worked(asked: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A device with shifts of work behind it; only looked at."""
    asking = copied(asked, tmp_path_factory.mktemp("worked"))
    db = open_store(asking.device.data)
    work_shifts(db, asking)
    db.close()
    return asking


@pytest.fixture(scope="module")
def client(worked: Settings) -> Iterator[httpx.Client]:
    """Speaks to a server over that device."""
    with serving(worked) as server, httpx.Client(base_url=server.url, trust_env=False) as http:
        yield http


def go(page: Page, name: str) -> None:
    """Tap what says so, and wait for the page it leads to."""
    link = page.get_by_role("link", name=name).first
    link.wait_for()
    settle(page)
    there = str(link.get_attribute("href"))
    link.tap()
    arrive(page, there)


@on_two_glasses
def test_every_page_on_every_panel_in_every_language(
    browser: Browser, worked: Settings, panel: tuple[int, int, float], language: str
) -> None:
    with (
        serving(on_panel(worked, *panel, language=language)) as server,
        page_of(browser, server, None) as page,
    ):
        page.goto(f"{server.url}today")
        titles = []
        for number in range(12):
            shown_screen(page, server, f"today-{number}")
            check_pictures(page)
            titles += page.locator(".card h2").all_inner_texts()
            following = page.locator(".at-bar-1")
            if following.get_attribute("aria-disabled"):
                break
            tap(page, ".at-bar-1")
            arrive(page, f"page={number + 1}")
        assert len(set(titles)) == 8
        for path in ("filter", "shifts", "parts", "classes", "save"):
            page.goto(f"{server.url}today/{path}")
            shown_screen(page, server, f"today-{path}")
        page.goto(f"{server.url}today?shift=1")
        shown_screen(page, server, "today-error")


def check_pictures(page: Page) -> None:
    """No text of a picture leaves it or meets another, and every one can be read."""
    texts = page.evaluate(
        """() => [...document.querySelectorAll('.figure svg')].map((svg) => {
            const outer = svg.getBoundingClientRect();
            return [...svg.querySelectorAll('text')].map((e) => {
                const b = e.getBoundingClientRect();
                return [b.left - outer.left, b.top - outer.top, outer.right - b.right,
                        outer.bottom - b.bottom, b.left, b.top, b.right, b.bottom, e.textContent];
            });
        })"""
    )
    for picture in texts:
        for one in picture:
            assert min(one[:4]) > -3, one
        for i, a in enumerate(picture):
            for b in picture[i + 1 :]:
                over = min(a[6], b[6]) - max(a[4], b[4]), min(a[7], b[7]) - max(a[5], b[5])
                assert over[0] < 2 or over[1] < 6, (a, b)
    assert "NaN" not in page.content()


def test_an_empty_device_says_that_there_is_nothing_yet(browser: Browser, asking: Settings) -> None:
    device = asking.device.model_copy(update={"data": asking.device.data.parent / "none"})
    with (
        serving(asking.model_copy(update={"device": device})) as server,
        page_of(browser, server, None) as page,
    ):
        page.goto(f"{server.url}today")
        shown_screen(page, server, "today-empty")
        cards = page.locator(".card").all_inner_texts()
        assert sum("Nothing yet" in card for card in cards) >= 3
        assert "NaN" not in page.content()


def labels_of(page: str) -> dict[str, str]:
    """What the pictures of a page say in words, by their titles."""
    said: dict[str, str] = {}
    for found in re.findall(r'role="img" aria-label="([^"]*)"', page):
        label = unescape(found)
        title = label.split(":")[0]
        said[title] = said.get(title, "") + label
    return said


def all_labels(client: httpx.Client, query: str = "") -> dict[str, str]:
    """Of all pages of cards."""
    found: dict[str, str] = {}
    for number in range(9):
        reply = client.get(f"/today?page={number}{query}")
        assert reply.status_code == 200
        assert "NaN" not in reply.text
        for title, label in labels_of(reply.text).items():
            if label not in found.get(title, ""):  # a picture may go on on the next page
                found[title] = found.get(title, "") + label
    return found


@pytest.fixture
def counted(asking: Settings) -> Settings:
    """A device with few figures that are known, in the shift before the present one."""
    db = open_store(asking.device.data)
    for table in ("counters", "scores"):
        db.execute(f"DELETE FROM {table}")
    shift = last_shifts(asking.review.shifts, time.time_ns(), 2)[1]
    minute, hour = shift.begin_ns // MINUTE_NS, shift.begin_ns // HOUR_NS
    model = in_force(db).model_id
    begin_lot(db, "=cmd|' /C calc'!A0", "L", "Anna")
    for at, verdict, name, part, frames in [
        (0, "pass", "clean", "", 900), (16, "unsure", "scratch", "", 20),
        (16, "fail", "patch", "", 60), (31, "fail", "scratch", "=cmd|' /C calc'!A0", 20),
        (31, "fault", "dark", "", 5),
    ]:  # fmt: skip
        db.execute(
            "INSERT INTO counters VALUES (?, ?, 'r', ?, ?, ?, 'L', ?)",
            [minute + at, model, verdict, name, part, frames],
        )
    for number, patches in [(-12, 75), (0, 25)]:  # the threshold is 0.05
        db.execute(
            "INSERT INTO scores VALUES (?, ?, 'clean', '', ?, ?)", [hour, model, number, patches]
        )
    db.execute("UPDATE frames SET wall_ns = ?, part = ''", [shift.begin_ns + 60 * 10**9])
    flags = db.execute(
        "SELECT patch_id, predicted FROM flags WHERE reason = 'audit' ORDER BY id LIMIT 12"
    ).fetchall()
    assert len(flags) == 12
    # No check is among the k highest as well, and every one has an answer.
    ids = json.dumps([patch for patch, _ in flags])
    db.execute(
        "DELETE FROM flags WHERE (reason = 'audit') != "
        "(patch_id IN (SELECT value FROM json_each(?)))",
        [ids],
    )
    for i, (patch, predicted) in enumerate(flags):
        for repeat in (0, 1):
            db.execute(
                "INSERT INTO labels VALUES (?, ?, ?, ?, ?, ?, 0, '', 1, ?)",
                [
                    f"{i}-{repeat}", patch, "something new" if i < 3 else "class",
                    "burr" if i < 3 else predicted, asking.review.operators[repeat],
                    shift.begin_ns + i, repeat,
                ],
            )  # fmt: skip
    db.close()
    budget = asking.asking.model_copy(update={"labels_per_shift": 100})
    return asking.model_copy(update={"asking": budget})


def test_the_pictures_say_the_right_numbers(counted: Settings) -> None:
    previous = last_shifts(counted.review.shifts, time.time_ns(), 2)[1]
    query = f"&shift={previous.begin_ns // 10**9}"
    db = open_store(counted.device.data)
    asked = db.execute(
        "SELECT count(DISTINCT patch_id) FROM flags WHERE reason != 'defect' AND alike IS NULL"
    ).fetchone()[0]
    db.close()
    with serving(counted) as server, httpx.Client(base_url=server.url, trust_env=False) as client:
        said = all_labels(client, query)
        quarter = moment(previous.begin_ns + 15 * MINUTE_NS)[-5:]
        assert said["Verdicts by the quarter-hour"] == (
            "Verdicts by the quarter-hour: Pass 900, Unsure 20, Fail 80, Fault 5. "
            f"Most failures from {quarter}: 60"
        )
        assert said["Defects by class"].endswith(
            "patch 60, together 75 %; scratch 20, together 100 %"
        )
        shares = said["Patches asked about"].split("; ")
        assert len(shares) == 7
        assert shares[-2].endswith(f" {asked} %")  # of 100 patches
        assert shares[-1].endswith(" –")
        assert "clean (100): 25 % over" in said["How unusual patches look"]
        assert "patch (0): Nothing yet" in said["How unusual patches look"]
        assert "24 of 100 given, 76 left" in said["Answers in this shift"]
        # Nine of twelve, and Clopper and Pearson's interval of that.
        assert (
            "75 %; With 95 % confidence between 43 % and 95 %, from 12 spot checks and 0 answered"
            in said["Accuracy of the model in use"]
        )
        assert "κ = 1.00; 12 of 12" in said["Do operators agree?"]
        only = all_labels(client, f"{query}&class=scratch")
        assert "Pass 0, Unsure 20, Fail 20, Fault 0" in only["Verdicts by the quarter-hour"]
        assert only["Defects by class"].endswith("scratch 20, together 100 %")
        only = all_labels(client, f"{query}&part=%3Dcmd%7C%27%20%2FC%20calc%27%21A0")
        assert "Pass 0, Unsure 0, Fail 20, Fault 0" in only["Verdicts by the quarter-hour"]
        assert "Verdicts by the quarter-hour" not in all_labels(client)  # nothing yet today


def rows_of(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))


def test_what_can_be_taken_away(counted: Settings) -> None:
    previous = last_shifts(counted.review.shifts, time.time_ns(), 2)[1]
    query = f"?shift={previous.begin_ns // 10**9}"
    with serving(counted) as server, httpx.Client(base_url=server.url, trust_env=False) as client:
        replies = {
            name: client.get(f"/today/{name}{query}")
            for name in ("counters.csv", "answers.csv", "pictures.zip")
        }
        assert client.get("/today/other.csv").status_code == 404
        fewer = client.get(f"/today/pictures.zip{query}&class=clean").content
        nothing = client.get("/today/pictures.zip?part=none").content
    for reply in replies.values():
        assert reply.status_code == 200
        assert re.fullmatch(
            r'attachment; filename="millsight-[\d-]+-(figures|answers|pictures)\.(csv|zip)"',
            reply.headers["Content-Disposition"],
        )
    figures = rows_of(replies["counters.csv"].content)
    assert sum(int(row["frames"]) for row in figures) == 1005
    assert {row["part"] for row in figures} == {"", "'=cmd|' /C calc'!A0"}
    answers = rows_of(replies["answers.csv"].content)
    assert len(answers) == 24
    assert [row["asked_again"] for row in answers[:2]] == ["0", "1"]
    db = open_store(counted.device.data)
    patches = dict(db.execute("SELECT id, png FROM patches").fetchall())
    frames = db.execute("SELECT count(*) FROM frames WHERE jpeg IS NOT NULL").fetchone()[0]
    flags = db.execute("SELECT count(*) FROM flags").fetchone()[0]
    clean = db.execute("SELECT count(*) FROM flags WHERE predicted = 'clean'").fetchone()[0]
    db.close()
    with zipfile.ZipFile(io.BytesIO(replies["pictures.zip"].content)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        manifest = list(
            csv.DictReader(io.StringIO(archive.read("manifest.csv").decode("utf-8-sig")))
        )
        assert len(manifest) == flags
        assert sum(name.startswith("frames/") for name in names) == frames > 3
        for row in manifest:
            assert archive.read(row["patch_file"]) == patches[row["patch"]]
            assert row["frame_file"] in names
        first = next(row for row in manifest if row["patch"] == answers[0]["patch"])
        assert (
            first["answers"] == "Anna: something new burr; 李伟: something new burr (asked again)"
        )
    with zipfile.ZipFile(io.BytesIO(fewer)) as archive:
        lines = archive.read("manifest.csv").decode().splitlines()
        assert len(lines) == clean + 1
    with zipfile.ZipFile(io.BytesIO(nothing)) as archive:
        assert archive.namelist() == ["manifest.csv"]


@pytest.mark.parametrize(
    "query",
    ["shift=1", "shift=x", "class=other", "page=-1", "page=x", "page=99999999999", "part=a%0Ab",
     "part=" + 129 * "a", "shift=", "page=%D9%A3", "class=%27%3B+DROP+TABLE+labels"],
)  # fmt: skip
def test_a_bad_choice_is_a_page_that_can_be_read(client: httpx.Client, query: str) -> None:
    for path in ("/today", "/today/parts", "/today/counters.csv"):
        reply = client.get(f"{path}?{query}")
        assert reply.status_code == 400
        assert "no longer offered" in reply.text


def test_a_part_is_a_value_and_never_a_statement(client: httpx.Client, worked: Settings) -> None:
    before = hashlib.sha256((worked.device.data / STORE_FILE).read_bytes()).hexdigest()
    reply = client.get("/today", params={"part": "' OR 1=1 --"})
    assert reply.status_code == 200
    assert "OR 1=1" in unescape(reply.text)
    assert "Verdicts by the quarter-hour" not in labels_of(reply.text)
    assert hashlib.sha256((worked.device.data / STORE_FILE).read_bytes()).hexdigest() == before


def test_filters_are_chosen_by_taps_and_kept(browser: Browser, worked: Settings) -> None:
    with serving(worked) as server, page_of(browser, server, None) as page:
        page.goto(f"{server.url}today")
        go(page, "Choose")
        go(page, "Part")
        go(page, PART)
        assert page.locator("h1").inner_text().endswith(f"· {PART}")
        go(page, "Choose")
        go(page, "Class")
        go(page, "scratch")
        assert page.locator("h1").inner_text().endswith(f"· {PART} · scratch")
        go(page, "Next")
        assert page.locator("h1").inner_text().endswith(f"· {PART} · scratch")
        go(page, "Choose")
        go(page, "Class")
        assert page.locator("[aria-current=true]").inner_text() == "scratch"
        go(page, "All")
        assert page.locator("h1").inner_text().endswith(f"· {PART}")


@pytest.mark.parametrize(
    ("value", "safe"),
    [("=1+1", "'=1+1"), ("+1", "'+1"), ("-1", "'-1"), ("@x", "'@x"), (" =1", "' =1"),
     ("\t=1", "'\t=1"), ("a=1", "a=1"), (-1, -1), (None, None), ("", "")],
)  # fmt: skip
def test_no_formula_in_a_csv(value: object, safe: object) -> None:
    assert harmless(value) == safe
    assert csv_lines([['a"b', "c\nd"]]) == '"a""b","c\nd"\r\n'


@pytest.mark.parametrize(
    ("share", "words"),
    [(0, "0 %"), (1, "100 %"), (0.9999, ">99.9 %"), (0.995, "99.5 %"), (0.000001, "<0.001 %"),
     (0.00097, "0.097 %"), (0.0312, "3.1 %"), (0.5, "50 %"), (0.0999, "10 %")],
)  # fmt: skip
def test_percentages_say_no_more_than_is_so(share: float, words: str) -> None:
    assert percent(share) == words


def test_an_outline_has_the_area_of_what_it_is_held_against() -> None:
    def outline(values: list[int], usual: list[int]) -> str:
        one = Histogram("clean", values, None, "", usual)
        return str(histograms(Size(40, 30), "scores", [one]))

    drawn = outline([0, 10, 0], [0, 1, 3])
    assert drawn.count("<path") == 2  # light under dark
    heights = [float(v) for v in re.findall(r"V([\d.]+)H", drawn)][:3]
    assert heights[0] > heights[1] > heights[2]  # downwards is more
    assert (heights[0] - heights[1]) * 3 == pytest.approx(heights[0] - heights[2], abs=0.1)
    assert "<path" not in outline([0, 10, 0], [0, 0, 0])
    assert "<path" not in outline([0, 0, 0], [0, 1, 3])


def test_words_are_cut_where_they_do_not_fit() -> None:
    assert cut("scratch", 100) == "scratch"
    for words in ("pitted_surface", "表面凹坑缺陷"):
        short = cut(words, 12)
        assert short.endswith("…")
        assert wide(short) <= 12
