"""The view of OPC 40100-1 (Machine Vision, version 1.0.0): state machine and last result, typed.

The types come from the OPC Foundation's node set, which lies beside this file with its MIT licence.
It is a view: the methods of the types are there, for they are mandatory, and cannot be executed.
"""

import gzip
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from asyncua import Node, Server, ua
from asyncua.common.instantiate_util import instantiate

NODE_SET = Path(__file__).with_name("Opc.Ua.MachineVision.NodeSet2.xml.gz")
URI = "http://opcfoundation.org/UA/MachineVision"
NAME = "VisionSystem"

# Numbers of types in the node set.
SYSTEM, RESULTS, RESULT_FOLDER, AUTOMATIC, RESULT = 1003, 1007, 1016, 1021, 2002
STATES = {"Preoperational": 5028, "Halted": 5029, "Error": 5030, "Operational": 5031}
COMPLETED = 1
"""A value of ResultStateDataType."""
MODES = {"Initialized": 5056, "Ready": 5057, "SingleExecution": 5058, "ContinuousExecution": 5059}
"""States of the automatic mode; they hold while the system is Operational."""


class VisionSystem:
    """An object of VisionSystemType under a node."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._vision = 0
        self._state: Node
        self._mode: Node
        self._result: Node
        self._shown: dict[str, dict[str, Any]] = {}

    async def build(self, parent: Node, index: int) -> None:
        """Add it under `parent`, its own nodes in namespace `index`."""
        server = self._server
        await server.import_xml(xmlstring=gzip.decompress(NODE_SET.read_bytes()))
        await server.load_data_type_definitions()
        self._vision = await server.get_namespace_index(URI)
        own = ua.QualifiedName(NAME, index)
        system = await self._add(parent, SYSTEM, own, index)
        machine = await system.get_child(f"{self._vision}:VisionStateMachine")
        automatic = await self._add(machine, AUTOMATIC, "AutomaticModeStateMachine", index)
        results = await self._add(system, RESULTS, "ResultManagement", index)
        folder = await self._add(results, RESULT_FOLDER, "Results", index)
        self._result = await self._add(folder, RESULT, ua.QualifiedName("LastResult", index), index)
        self._state = await machine.get_child("0:CurrentState")
        self._mode = await automatic.get_child("0:CurrentState")
        await _forbid_methods(system)

    async def show(self, facts: dict[str, dict[str, Any]]) -> None:
        """Show the state and the last result, where they changed."""
        if (state := facts.get("state")) and self._shown.get("state") != state:
            self._shown["state"] = state
            await self._show_state(self._state, STATES, state["vision_state"])
            await self._show_state(self._mode, MODES, state["vision_mode"])
        if (last := facts.get("last_result")) and self._shown.get("last_result") != last:
            self._shown["last_result"] = last
            await self._result.write_value(ua.Variant(result_of(last)))

    async def _add(
        self, parent: Node, type_id: int, name: str | ua.QualifiedName, index: int
    ) -> Node:
        kind = self._server.get_node(ua.NodeId(type_id, self._vision))
        if isinstance(name, str):
            name = ua.QualifiedName(name, self._vision)
        made: list[Node] = await instantiate(
            parent, kind, bname=name, idx=index, instantiate_optional=False
        )
        return made[0]

    async def _show_state(self, node: Node, known: dict[str, int], name: str) -> None:
        """`name` empty: the state machine is not active."""
        text = ua.LocalizedText(name) if name else ua.LocalizedText()
        state = ua.NodeId(known[name], self._vision) if name else ua.NodeId()
        await node.write_value(ua.Variant(text, ua.VariantType.LocalizedText))
        identifier = await node.get_child("0:Id")
        await identifier.write_value(ua.Variant(state, ua.VariantType.NodeId))


async def _forbid_methods(node: Node) -> None:
    for child in await node.get_children():
        if await child.read_node_class() == ua.NodeClass.Method:
            for attribute in (ua.AttributeIds.Executable, ua.AttributeIds.UserExecutable):
                never = ua.DataValue(ua.Variant(False, ua.VariantType.Boolean))
                await child.write_attribute(attribute, never)
        else:
            await _forbid_methods(child)


def result_of(last: dict[str, Any]) -> Any:
    """A ResultDataType of a part's answer, as `device.machine.facts.result_of` tells it.

    ResultContent is verdict, OK, class, error code; the configuration is the model.
    """
    seconds = last["wall_ns"] / 1e9
    began = datetime.fromtimestamp(seconds, UTC)
    ended = datetime.fromtimestamp(seconds + last["took_ms"] / 1e3, UTC)
    grab_ms = float(last.get("grab_ms", 0.0))
    # The classes are made from the node set when it is loaded; none of them is known before.
    kinds: Any = ua
    return kinds.ResultDataType(
        ResultId=kinds.ResultIdDataType(str(last["id"])),
        IsPartial=False,
        IsSimulated=False,
        ResultState=COMPLETED,
        PartId=kinds.PartIdDataType(Id=last["part"]),
        InternalRecipeId=kinds.RecipeIdInternalDataType(Id=last["recipe"]),
        InternalConfigurationId=kinds.ConfigurationIdDataType(Id=last["model"]),
        JobId=kinds.JobIdDataType(str(last["number"])),
        CreationTime=ended,
        ProcessingTimes=kinds.ProcessingTimesDataType(
            StartTime=began,
            EndTime=ended,
            AcquisitionDuration=grab_ms,
            ProcessingDuration=float(last["took_ms"]) - grab_ms,
        ),
        ResultContent=[
            ua.Variant(last["verdict"], ua.VariantType.String),
            ua.Variant(last["ok"], ua.VariantType.Boolean),
            ua.Variant(last["class"], ua.VariantType.String),
            ua.Variant(last["code"], ua.VariantType.Int32),
        ],
    )
