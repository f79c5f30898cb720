"""Does the exchange answer, and do we know whose models to trust?"""

from collections.abc import Iterator

from config.errors import UserError
from device.doctor.finding import Box, Finding
from device.exchange.opening import open_place
from device.exchange.trust import root_path


def look(box: Box) -> Iterator[Finding]:
    """The place itself, and the root of trust."""
    settings = box.settings
    try:
        with open_place(settings.exchange) as place:
            found = len(place.list("labels"))
            yield Finding.ok(f"{place.where}: answers, {found} batches of labels")
    except UserError as error:
        yield Finding.fault(
            str(error), "the inspection goes on without; network, address, key: [exchange]"
        )
    if not root_path(settings).exists():
        yield Finding.warning(
            "no root of trust: no model is taken from the exchange",
            "bring root.json of the trainer's keys: millsight device trust root.json",
        )
