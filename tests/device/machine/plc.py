"""A PLC as a program of its own: `plc.py ROLE LINE PARTS [number …]`, a line of JSON per part.

ROLE is `server` (the box asks it) or `master` (it asks the box); LINE is `host:port` or a serial
port. It scans as a PLC does: wait for Trigger Ready, write number and recipe, raise the trigger,
wait for the results, acknowledge, release.
"""

import asyncio
import json
import sys
import time
from typing import Any

from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

BAUD = 19200
PATIENCE_S = 8.0
READY, RESULTS, OK, NG, UNSURE = range(16, 21)


class Memory:
    """Coils and registers, of this PLC or of the box."""

    async def coils(self, address: int, count: int) -> list[bool]:
        raise NotImplementedError

    async def registers(self, address: int, count: int) -> list[int]:
        raise NotImplementedError

    async def set_coil(self, address: int, value: bool) -> None:
        raise NotImplementedError

    async def set_registers(self, address: int, values: list[int]) -> None:
        raise NotImplementedError


class Own(Memory):
    """This PLC's own memory, which the box reads and writes."""

    def __init__(self, line: str) -> None:
        bits, words = DataType.BITS, DataType.REGISTERS
        device = SimDevice(
            id=1,
            simdata=(
                [SimData(0, values=[False] * 32, datatype=bits)],
                [SimData(0, values=[False] * 32, datatype=bits)],
                [SimData(0, values=[0] * 100, datatype=words)],
                [SimData(0, values=[0] * 100, datatype=words)],
            ),
        )
        self.server: Any
        if ":" in line:
            host, port = line.split(":")
            self.server = ModbusTcpServer(device, address=(host, int(port)))
        else:
            self.server = ModbusSerialServer(device, port=line, baudrate=BAUD)

    async def start(self) -> None:
        await self.server.serve_forever(background=True)

    async def stop(self) -> None:
        await self.server.shutdown()

    async def coils(self, address: int, count: int) -> list[bool]:
        return [bool(b) for b in await self.server.async_getValues(1, 1, address, count)]

    async def registers(self, address: int, count: int) -> list[int]:
        return list(await self.server.async_getValues(1, 3, address, count))

    async def set_coil(self, address: int, value: bool) -> None:
        await self.server.async_setValues(1, 5, address, [value])

    async def set_registers(self, address: int, values: list[int]) -> None:
        await self.server.async_setValues(1, 16, address, values)


class Theirs(Memory):
    """The box's memory, which this PLC asks for."""

    def __init__(self, line: str) -> None:
        self.client: Any
        if ":" in line:
            host, port = line.split(":")
            self.client = AsyncModbusTcpClient(host, port=int(port), timeout=1)
        else:
            self.client = AsyncModbusSerialClient(line, baudrate=BAUD, timeout=1)

    async def start(self) -> None:
        end = time.monotonic() + PATIENCE_S
        while not await self.client.connect():
            assert time.monotonic() < end, "the box does not listen"
            await asyncio.sleep(0.1)

    async def stop(self) -> None:
        self.client.close()

    async def coils(self, address: int, count: int) -> list[bool]:
        reply = await self.client.read_coils(address, count=count, device_id=1)
        assert not reply.isError(), reply
        return list(reply.bits[:count])

    async def registers(self, address: int, count: int) -> list[int]:
        reply = await self.client.read_holding_registers(address, count=count, device_id=1)
        assert not reply.isError(), reply
        return list(reply.registers)

    async def set_coil(self, address: int, value: bool) -> None:
        reply = await self.client.write_coil(address, value, device_id=1)
        assert not reply.isError(), reply

    async def set_registers(self, address: int, values: list[int]) -> None:
        reply = await self.client.write_registers(address, values, device_id=1)
        assert not reply.isError(), reply


async def until(memory: Memory, coil: int, value: bool) -> float | None:
    """Seconds until a coil has a value; None: it did not come to it."""
    began = time.monotonic()
    while (await memory.coils(coil, 1))[0] is not value:
        if time.monotonic() - began > PATIENCE_S:
            return None
        await asyncio.sleep(0.002)
    return time.monotonic() - began


async def part(memory: Memory, number: int, recipe: int = 0) -> dict[str, Any]:
    """Have one part judged; what the PLC saw."""
    if await until(memory, READY, True) is None:
        return {"number": number, "error": "not ready"}
    await memory.set_registers(0, [recipe, number])
    await memory.set_coil(0, True)
    took = await until(memory, RESULTS, True)
    if took is None:
        await memory.set_coil(0, False)
        return {"number": number, "error": "silent"}
    bits = await memory.coils(RESULTS, 4)
    class_id, code, recipe, of, beat = await memory.registers(64, 5)
    await memory.set_coil(1, True)
    await memory.set_coil(0, False)
    cleared = await until(memory, RESULTS, False)
    await memory.set_coil(1, False)
    return {
        "number": number, "of": of, "ok": bits[1], "ng": bits[2], "unsure": bits[3],
        "class_id": class_id, "code": code, "recipe": recipe, "beat": beat,
        "took": took, "cleared": cleared,
    }  # fmt: skip


async def main(role: str, line: str, parts: int, recipes: list[int]) -> None:
    memory = Own(line) if role == "server" else Theirs(line)
    await memory.start()
    print("up", flush=True)
    for number in range(1, parts + 1):
        recipe = recipes[(number - 1) % len(recipes)] if recipes else 0
        print(json.dumps(await part(memory, number, recipe)), flush=True)
    await memory.stop()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), [int(a) for a in sys.argv[4:]]))
