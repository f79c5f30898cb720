"""The models a store remembers, and the way back to an earlier one."""

import shutil

import pytest

from config.errors import UserError
from config.recipes import Under
from config.settings import Settings
from device.models.activation import activate, go_back, model_path
from device.models.models_in_use import in_force
from device.store.database import open_store
from device.update.history import count_models, find_model, models, predecessor
from millsight import app
from tests.device.conftest import MakeModel


def test_models_newest_first_with_their_uses(settings: Settings, make_model: MakeModel) -> None:
    db = open_store(settings.device.data)
    first = activate(db, make_model(1, labels=40), settings, "by hand").id
    second = activate(db, make_model(2, parent=first, labels=60), settings, "night 2").id
    third = activate(db, make_model(3, parent="f" * 64), settings, "night 3").id
    found = models(db)
    assert [m.id for m in found] == [third, second, first]
    assert [m.id for m in models(db, 1, 1)] == [second]
    assert [m.in_use for m in found] == [True, False, False]
    assert [m.metadata.labels for m in found] == [0, 60, 40]
    assert count_models(db) == 3
    assert found[0].latency_ms is not None
    assert predecessor(db, found[0]) == found[1]  # its parent is not known here
    assert predecessor(db, found[1]) == found[2]
    assert predecessor(db, found[2]) is None

    child = activate(db, make_model(4, parent=first), settings, "night 4").id
    assert predecessor(db, find_model(db, child)) == models(db)[-1]  # not the one it replaced

    go_back(db, first, Under(settings), "Zoe")
    assert in_force(db).model_id == first
    assert [use.reason for use in find_model(db, first).uses] == ["by hand", "rolled back by Zoe"]
    action = db.execute("SELECT who, action, subject FROM actions").fetchall()
    assert [tuple(row) for row in action] == [("Zoe", "rolled back", first)]
    assert predecessor(db, find_model(db, first)) is None  # it was still the first
    cycle = db.execute("SELECT reason FROM cycles ORDER BY id DESC").fetchone()[0]
    assert cycle == f"model {first[:12]}: rolled back by Zoe"
    db.close()


def test_nothing_changes_where_a_model_cannot_come_back(
    settings: Settings, make_model: MakeModel
) -> None:
    db = open_store(settings.device.data)
    ids = [activate(db, make_model(i), settings, "test").id for i in range(4)]
    data = settings.device.data
    model_path(data, ids[0]).unlink()
    content = bytearray(model_path(data, ids[1]).read_bytes())
    model_path(data, ids[1]).write_bytes(content[: len(content) // 2])
    shutil.copy(model_path(data, ids[3]), model_path(data, ids[2]))
    recipe = settings.recipe.model_copy(update={"pass_classes": ["patch"]})
    other_classes = settings.model_copy(update={"recipe": recipe})
    good = activate(db, make_model(7), settings, "test").id
    for model_id, known, why in [
        (ids[0], settings, "cannot be read"),
        (ids[1], settings, "not an ONNX model"),
        (ids[2], settings, "not the model it was"),
        (ids[3], other_classes, "made for classes"),
        (good, settings, "in use already"),
        ("f" * 64, settings, "no model of this device"),
    ]:
        with pytest.raises(UserError, match=why) as error:
            go_back(db, model_id, Under(known), "Zoe")
        assert "\n" not in str(error.value)
    assert in_force(db).model_id == good
    assert db.execute("SELECT count(*) FROM activations").fetchone()[0] == 5
    assert db.execute("SELECT count(*) FROM actions").fetchone()[0] == 0
    db.close()


def test_by_command(
    settings: Settings, make_model: MakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    from config.document import to_toml  # noqa: PLC0415

    config = settings.device.data.parent / "millsight.toml"
    config.write_text(to_toml(settings), encoding="utf-8")
    db = open_store(settings.device.data)
    first = activate(
        db, make_model(1, labels=40, metrics={"held_out_accuracy": 0.9}), settings, "a"
    )
    second = activate(db, make_model(2), settings, "b")
    app(["device", "models", "-c", str(config)], result_action="return_value")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"* {second.id[:12]}")
    assert lines[1].startswith("    judges in ")
    assert lines[2].startswith(f"  {first.id[:12]}")
    assert "40 labels, held_out_accuracy 0.900; a" in lines[2]
    rollback = ["device", "rollback", first.id[:8], "-c", str(config), "--who", "Zoe"]
    app(rollback, result_action="return_value")
    assert capsys.readouterr().out == f"{first.id[:12]} in use again\n"
    assert in_force(db).model_id == first.id
    for beginning, why in [("", "more than one"), ("zz", "no model")]:
        with pytest.raises(UserError, match=why):
            find_model(db, beginning)
    db.close()
