"""The plant's facts as a read-only OPC UA server (asyncua), on a thread of its own."""

import asyncio
import logging
import math
import threading
from typing import Any

from asyncua import Server, ua
from asyncua.common.node import Node

from camera.source import Event, Report
from config.machine import OpcUa
from device.machine.vision import VisionSystem

AGAIN_S = 10.0
"""Pause before it is served again after an error, in seconds."""
NAMESPACE = "urn:millsight:inspection"
logging.getLogger("asyncua").setLevel(logging.CRITICAL)  # what goes wrong is reported by us

Facts = dict[str, dict[str, Any]]


class Tree:
    """Serves `Objects/<device>/<group>/<name>`, and `Objects/<device>/VisionSystem` of OPC 40100-1;
    a value changes when it is told to."""

    def __init__(self, settings: OpcUa, device: str, report: Report) -> None:
        self._settings = settings
        self._device = device
        self._report = report
        self._facts: Facts = {}
        self._told = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="opc ua", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def close(self) -> None:
        """End."""
        with self._told:
            self._closing = True
            self._told.notify_all()
        if self._thread.is_alive():
            self._thread.join(5)

    def tell(self, group: str, facts: dict[str, Any]) -> None:
        """Change the values of a group, from any thread."""
        with self._told:
            self._facts[group] = dict(facts)
            self._told.notify_all()

    def _run(self) -> None:
        while not self._closing:
            try:
                asyncio.run(self._serve())
            except Exception as error:  # noqa: BLE001 - whatever it is: MQTT goes on, this anew
                place = f"{self._settings.host}:{self._settings.port}"
                why = " ".join(str(error).split()) or type(error).__name__
                text = f"{place}: cannot be served: {why}; tried again in {AGAIN_S:g} s"
                self._report(Event("opcua-lost", text))
                with self._told:
                    self._told.wait_for(lambda: self._closing, AGAIN_S)

    async def _serve(self) -> None:
        server = Server()
        await server.init()
        server.set_endpoint(f"opc.tcp://{self._settings.host}:{self._settings.port}/millsight/")
        server.set_server_name("millsight")
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        index = await server.register_namespace(NAMESPACE)
        root = await server.nodes.objects.add_object(index, self._device)
        vision = VisionSystem(server)
        await vision.build(root, index)
        nodes: dict[tuple[str, str], Node] = {}
        groups: dict[str, Node] = {}
        shown: Facts = {}
        async with server:
            place = f"opc.tcp://{self._settings.host}:{self._settings.port}/millsight/"
            self._report(Event("opcua", f"{place}: served"))
            while True:
                facts = await asyncio.to_thread(self._news, shown)
                if facts is None:
                    return
                for group, values in facts.items():
                    if group not in groups:
                        groups[group] = await root.add_object(index, group)
                    for name, value in values.items():
                        if (group, name) not in nodes:
                            # a variable of asyncua is read-only for clients unless it is told else
                            node = await groups[group].add_variable(index, name, _typed(value))
                            nodes[group, name] = node
                        elif shown.get(group, {}).get(name) != value:
                            await nodes[group, name].write_value(_typed(value))
                    for name in shown.get(group, {}).keys() - values.keys():
                        # a step that this part did not have: the time before is not its own
                        await nodes[group, name].write_value(_typed(math.nan))
                await vision.show(facts)
                shown = facts

    def _news(self, shown: Facts) -> Facts | None:
        """The facts, once they differ from those shown; None: the end."""
        with self._told:
            while not self._closing and self._facts == shown:
                self._told.wait(1)
            return None if self._closing else {k: dict(v) for k, v in self._facts.items()}


def _typed(value: Any) -> ua.Variant:
    kinds = {bool: ua.VariantType.Boolean, int: ua.VariantType.Int64, float: ua.VariantType.Double}
    kind = kinds.get(type(value), ua.VariantType.String)
    return ua.Variant(value if kind is not ua.VariantType.String else str(value), kind)
