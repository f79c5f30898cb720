"""A recipe whose budget is used up asks no more, the others go on."""

from pathlib import Path

from config.settings import Settings
from device.review.desk import Desk
from device.review.messages import Message
from device.store.answers import add_answer
from device.store.cycles import start_cycle
from device.store.database import open_store
from tests.device.loop.test_recipe_budget import CLASSES, ask
from tests.device.review.conftest import HOLDER, copied


def test_the_page_is_asked_about_other_recipes_then(asking: Settings, tmp_path: Path) -> None:
    settings = copied(asking, tmp_path / "copy")
    device = settings.device.model_copy(update={"recipes": tmp_path / "recipes"})
    settings = settings.model_copy(update={"device": device})
    device.recipes.mkdir()
    (device.recipes / "ring.toml").write_text(
        f"[recipe]\n{CLASSES}[asking]\nlabels_per_shift = 1\n"
    )
    db = open_store(device.data)
    start_cycle(db, "first use", "ring")
    of_ring = ask(db, "ring", 5, 1)
    desk = Desk(settings)
    message = Message(holder=HOLDER, have=[])

    def given() -> list[str]:
        with db.atomic():
            state = desk.state(db, message, [], "Anna")
        db.execute("DELETE FROM claims")
        db.conn.commit()
        return [question["patch"] for question in state["questions"]]

    assert set(given()) & set(of_ring), "the most useful ones are asked first"
    add_answer(db, of_ring[4], "class", "scratch", "Anna")
    found = given()
    assert found
    assert not set(found) & set(of_ring)
    desk.close()
    db.close()
