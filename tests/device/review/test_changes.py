"""Drift on the pages: the live page's amber word, the Today card, the pictures."""

import re

import httpx
import numpy as np
import pytest

from config.settings import Drift, Settings
from device.drift.detection import BINS, Block
from device.drift.log import EndedBlock, add_block, alarms, reset
from device.models.models_in_use import in_force
from device.store.database import open_store
from tests.device.review.conftest import serving


@pytest.fixture
def darkened(asking: Settings) -> Settings:
    """A device whose light has lost a quarter."""
    db = open_store(asking.device.data)
    model = in_force(db).model_id or ""
    rng = np.random.default_rng(0)
    image = np.full((400, 600), 90, np.uint8)
    for i in range(95):
        light = 75 if i >= 80 else 100
        scores = np.zeros((4, BINS), np.int64)
        scores[:, 10] = 50
        looks = np.log([light, 0.2, 0.1]) + rng.normal(0, 0.01, 3)
        ended = EndedBlock(
            Block(10, looks, scores), asking.recipe.name, "P<1>", model,
            asking.recipe.classes, image, image,
        )  # fmt: skip
        with db.atomic():
            add_block(db, ended, Drift(reference_blocks=60))
    assert [alarm.kind for alarm in alarms(db, [asking.recipe.name])] == ["light"]
    db.close()
    return asking


def test_an_alarm_stands_on_the_pages_until_it_ends(darkened: Settings) -> None:
    with serving(darkened) as server, httpx.Client(base_url=server.url, trust_env=False) as client:
        live = client.get("/live").text
        assert '<a href="/drift"><b class="bad">light has changed</b></a>' in live
        today = client.get("/today").text
        assert "Has anything changed?" in today
        assert re.search("2[456] % darker: grey value (99|100|101), now 7[456]", today)
        page = client.get("/drift").text
        assert "light has changed (P&lt;1&gt;)" in page
        assert "millsight device drift --reset --who NAME" in page
        for which in ("before", "after"):
            jpeg = client.get(f"/drift/1/{which}.jpg")
            assert jpeg.headers["content-type"] == "image/jpeg"
            assert jpeg.content[:2] == b"\xff\xd8"
        assert client.get("/drift/1/between.jpg").status_code == 404
        assert client.get("/drift/2/before.jpg").status_code == 404
        client.cookies.set("millsight-language", "zh")
        assert re.search("变暗 2[456] %：灰度值原为", client.get("/drift").text)
        client.cookies.clear()
        db = open_store(darkened.device.data)
        reset(db, darkened.recipe.name, None, "Anna")
        db.close()
        assert "light has changed" not in client.get("/live").text
        assert "over since" in client.get("/drift").text


def test_without_an_alarm_the_pages_say_so(asking: Settings) -> None:
    with serving(asking) as server, httpx.Client(base_url=server.url, trust_env=False) as client:
        assert "Nothing noticed" in client.get("/drift").text
        assert 'href="/drift"' not in client.get("/live").text
        assert "/drift" in client.get("/today/save").text
