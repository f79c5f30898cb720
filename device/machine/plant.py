"""`millsight plant`: tells MQTT and OPC UA what happens; a program of its own."""

import signal
import threading
from types import FrameType
from typing import Any, Protocol

from sqlite_utils import Database

from camera.source import Event, Report
from config.cli import Config
from config.errors import UserError
from config.load import load_settings
from config.settings import Settings
from device.machine.facts import counters_of, model_of, result_of, state_of
from device.store.database import STORE_FILE, explain_errors, open_store_of
from device.store.parts import last_part, parts_after
from device.store.swap import identity_of


class Listener(Protocol):
    """Somebody in the plant."""

    def start(self) -> None:
        """Begin."""

    def close(self) -> None:
        """End."""

    def tell(self, name: str, facts: dict[str, Any]) -> None:
        """What is."""


def plant(config: Config = None) -> None:
    """Tell the plant of state, counters, results and model until Ctrl-C, over MQTT and OPC UA.

    It only reads what the inspection writes: a broker that is down holds up no verdict.

    Parameters
    ----------
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    """
    settings = load_settings(config)
    if not settings.plant.mqtt.host and not settings.plant.opcua.listen:
        raise UserError("plant: set plant.mqtt.host, or plant.opcua.listen = true")

    def report(event: Event) -> None:
        print(f"{event.kind}: {event.text}", flush=True)

    stopping = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    serve(settings, report, stopping)


def serve(settings: Settings, report: Report, stopping: threading.Event) -> None:
    """Look at what happens and tell it, until the end.

    Raises:
        UserError: the store cannot be opened, or the extra `plant` is not installed.
    """
    listeners = _listeners(settings, report)
    data = settings.device.data
    db, identity = open_store_of(settings), identity_of(data)
    last = last_part(db)
    first = parts_after(db, last - 1)
    for one in listeners:
        one.start()
    try:
        if first:
            _tell_all(listeners, "last_result", result_of(first[-1]))
        said = ""
        while not stopping.is_set():
            try:
                now = identity_of(data)
                if now not in {identity, None}:  # it was mended, or a copy was brought back
                    fresh = open_store_of(settings)
                    db.close()
                    db, identity = fresh, now
                    last = min(last, last_part(db))
                with explain_errors(data / STORE_FILE):
                    last = _look(db, settings, listeners, last)
                said = ""
            except UserError as error:
                if str(error) != said:
                    said = str(error)
                    report(Event("store", said))
            stopping.wait(settings.plant.look_s)
    finally:
        for one in listeners:
            one.close()
        db.close()


def _listeners(settings: Settings, report: Report) -> list[Listener]:
    found: list[Listener] = []
    try:
        if settings.plant.mqtt.host:
            from device.machine.mqtt import Publisher  # noqa: PLC0415

            found.append(Publisher(settings.plant.mqtt, settings.device.name, report))
        if settings.plant.opcua.listen:
            from device.machine.opcua import Tree  # noqa: PLC0415

            found.append(Tree(settings.plant.opcua, settings.device.name, report))
    except ModuleNotFoundError as error:
        raise UserError(
            f"{error.name} is not installed; it comes with: pip install 'millsight[plant]'"
        ) from None
    return found


def _look(db: Database, settings: Settings, listeners: list[Listener], last: int) -> int:
    """Tell what has changed; the place of the last part told."""
    _tell_all(listeners, "state", state_of(settings))
    _tell_all(listeners, "counters", counters_of(db, settings))
    _tell_all(listeners, "model", model_of(db, settings))
    for one in parts_after(db, last):
        result = result_of(one)
        for listener in listeners:
            happened = getattr(listener, "happened", None)
            if happened is not None:
                happened("result", result)
        _tell_all(listeners, "last_result", result)
        last = one.id
    return last


def _tell_all(listeners: list[Listener], name: str, facts: dict[str, Any]) -> None:
    for listener in listeners:
        listener.tell(name, facts)
