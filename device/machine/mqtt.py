"""The plant's facts as JSON on an MQTT broker; paho connects again by itself."""

import contextlib
import json
import os
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from camera.source import Event, Report
from config.machine import Mqtt

PASSWORD = "MILLSIGHT_MQTT_PASSWORD"  # noqa: S105 - the name of a variable
KEEPALIVE_S = 15


class Publisher:
    """Publishes under `<topic>/<device>/…`: what is, retained; what happens, once each.

    `online` is retained and `false` by the broker's last will when this program is gone.
    """

    def __init__(self, settings: Mqtt, device: str, report: Report) -> None:
        self._settings = settings
        self._report = report
        # of a topic's own signs a name may hold the plus
        self._base = f"{settings.topic}/{device.translate(str.maketrans('/ +', '___'))}"
        self._retained: dict[str, str] = {}
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=f"millsight-{device}", clean_session=True
        )
        self._client.will_set(f"{self._base}/online", "false", qos=1, retain=True)
        if settings.user:
            self._client.username_pw_set(settings.user, os.environ.get(PASSWORD))
        if settings.tls:
            self._client.tls_set()
        self._client.reconnect_delay_set(1, 30)
        self._client.max_queued_messages_set(10_000)
        self._client.on_connect = self._connected
        self._client.on_disconnect = self._lost

    def start(self) -> None:
        """Connect, on paho's own thread; a broker that is not there is tried again."""
        self._client.connect_async(self._settings.host, self._settings.port, KEEPALIVE_S)
        self._client.loop_start()

    def close(self) -> None:
        """Say that this box goes, and end."""
        if self._client.is_connected():
            said = self._client.publish(f"{self._base}/online", "false", qos=0, retain=True)
            with contextlib.suppress(RuntimeError):  # the broker went first, and has our last will
                said.wait_for_publish(2)
        self._client.disconnect()
        self._client.loop_stop()

    def tell(self, name: str, facts: dict[str, Any]) -> None:
        """Publish what is, where it has changed."""
        text = json.dumps(facts, ensure_ascii=False, sort_keys=True)
        if self._retained.get(name) == text:
            return
        self._retained[name] = text
        # QoS 0: what a lost connection swallows is told again after it, and takes no place among
        # the results that wait.
        self._client.publish(f"{self._base}/{name}", text, qos=0, retain=True)

    def happened(self, name: str, facts: dict[str, Any]) -> None:
        """Publish what happened; while the broker is away, up to 10,000 of them wait."""
        text = json.dumps(facts, ensure_ascii=False, sort_keys=True)
        self._client.publish(f"{self._base}/{name}", text, qos=1)

    def _connected(
        self, _client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        place = f"{self._settings.host}:{self._settings.port}"
        if reason.is_failure:
            self._report(Event("mqtt-lost", f"{place}: refused: {reason}"))
            return
        self._report(Event("mqtt", f"{place}: connected"))
        self._client.publish(f"{self._base}/online", "true", qos=0, retain=True)
        for name, text in list(self._retained.items()):  # a new broker has forgotten
            self._client.publish(f"{self._base}/{name}", text, qos=0, retain=True)

    def _lost(
        self, _client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        place = f"{self._settings.host}:{self._settings.port}"
        self._report(Event("mqtt-lost", f"{place}: {reason}; tried again"))
