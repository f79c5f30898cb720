"""What root does by hand on an appliance, its services can go on with."""

import os
from pathlib import Path

import pytest

from device.store.editing import editing
from tests.device.update.conftest import Site
from tests.filled import fill

SERVICE = 65534
"""Some user that is not root."""


def owners(folder: Path) -> set[tuple[str, int]]:
    """What of a folder does not belong to the services."""
    return {
        (str(path.relative_to(folder)), path.lstat().st_uid)
        for path in folder.rglob("*")
        if path.lstat().st_uid != SERVICE
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files of root")
def test_what_root_does_leaves_nothing_that_the_services_cannot_write(
    site: Site, three_models: list[Path]
) -> None:
    data, exchange = site.settings.device.data, Path(site.settings.exchange.url)
    site.publish(three_models[0])
    first, _ = fill(site.settings, 2)
    for folder in (data, exchange):
        for path in (folder, *folder.rglob("*")):
            os.chown(path, SERVICE, SERVICE)
    for lock in data.glob("*.lock"):  # as on a box where no service has done this yet
        lock.unlink()
    (data / "answers.log").unlink(missing_ok=True)
    for command in (
        ["device", "label", first, "scratch", "--operator", "anna"],
        ["device", "sync"],
        ["device", "note", "by hand"],
        ["device", "check"],
        ["device", "tidy"],
        ["recipe", "list"],
    ):
        status, said = site.run(*command)
        assert status == 0, (command, said)
    with editing(data):
        pass
    assert site.in_use() is not None
    assert owners(data) == set()
    assert owners(exchange) == set()
