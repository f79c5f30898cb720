"""The register map of the handshake: one table for both roles, the docs and the tests.

Addresses are those on the wire, from 0, added to `first_coil` and `first_register`. Texts hold
two characters a register, the first in the high byte, and end at a NUL.
"""

from typing import Literal, NamedTuple

from device.machine.handshake import Inputs, Outputs

TEXT_WORDS = 16


class Entry(NamedTuple):
    """One signal of the handshake."""

    name: str
    kind: Literal["coil", "register"]
    address: int
    words: int
    writer: Literal["plc", "box"]
    meaning: str


MAP = (
    Entry("trigger", "coil", 0, 1, "plc", "a part is in place; rises only while Trigger Ready"),
    Entry("ack", "coil", 1, 1, "plc", "Results Ack: the results were read"),
    Entry("ready", "coil", 16, 1, "box", "Trigger Ready: a part may be triggered"),
    Entry("results_ready", "coil", 17, 1, "box", "the results stand, until Results Ack rises"),
    Entry("ok", "coil", 18, 1, "box", "the part is good"),
    Entry("ng", "coil", 19, 1, "box", "the part is not good, or an error happened"),
    Entry("unsure", "coil", 20, 1, "box", "a person must look at the part"),
    Entry("recipe_wanted", "register", 0, 1, "plc", "index of the recipe; 0: the one in force"),
    Entry("number_wanted", "register", 1, 1, "plc", "number of the part, counted up; 0: none"),
    Entry("lot", "register", 2, TEXT_WORDS, "plc", "lot, with `machine.modbus.texts`"),
    Entry("part", "register", 18, TEXT_WORDS, "plc", "part number, with `machine.modbus.texts`"),
    Entry("class_id", "register", 64, 1, "box", "place of the class in the recipe; 65535: none"),
    Entry("code", "register", 65, 1, "box", "error code; 0: none"),
    Entry("recipe", "register", 66, 1, "box", "index of the recipe in force"),
    Entry("number", "register", 67, 1, "box", "number of the part that the results are of"),
    Entry("heartbeat", "register", 68, 1, "box", "counts up every `machine.modbus.heartbeat_s`"),
)
"""Every signal. What one side writes of a kind lies in one block, so that it is one request."""


def block(kind: str, writer: str, *, texts: bool = True) -> tuple[int, int]:
    """Where the signals of a kind that one side writes lie: first address, and how many."""
    entries = [e for e in MAP if e.kind == kind and e.writer == writer and (texts or e.words == 1)]
    first = min(e.address for e in entries)
    return first, max(e.address + e.words for e in entries) - first


def inputs_of(coils: list[bool], registers: list[int]) -> Inputs:
    """What the PLC says, from its two coils and 2 or 34 registers."""
    texts = registers[2:]
    return Inputs(
        trigger=bool(coils[0]),
        ack=bool(coils[1]),
        recipe=registers[0],
        number=registers[1],
        lot=text_of(texts[:TEXT_WORDS]),
        part=text_of(texts[TEXT_WORDS:]),
    )


def coils_of(outputs: Outputs) -> list[bool]:
    """The box's coils, from Trigger Ready on."""
    return list(outputs[:5])


def registers_of(outputs: Outputs, heartbeat: int) -> list[int]:
    """The box's registers, from the class id on."""
    return [
        outputs.class_id & 0xFFFF,
        outputs.code,
        outputs.recipe,
        outputs.number,
        heartbeat & 0xFFFF,
    ]


def text_of(words: list[int]) -> str:
    """The text in registers; what is no printable ASCII is left out."""
    data = b"".join(word.to_bytes(2, "big") for word in words).split(b"\0")[0]
    return "".join(chr(b) for b in data if 0x20 <= b < 0x7F).strip()


def words_of(text: str) -> list[int]:
    """A text as registers, cut to what fits."""
    data = text.encode("ascii", "replace")[: 2 * TEXT_WORDS].ljust(2 * TEXT_WORDS, b"\0")
    return [int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2)]


def as_markdown() -> str:
    """The map as a table of the docs."""
    lines = ["| signal | kind | address | written by | meaning |", "|---|---|---|---|---|"]
    for e in MAP:
        address = f"{e.address}" if e.words == 1 else f"{e.address}–{e.address + e.words - 1}"
        writer = "PLC" if e.writer == "plc" else "millsight"
        kind = "coil" if e.kind == "coil" else "holding register"
        lines.append(f"| `{e.name}` | {kind} | {address} | {writer} | {e.meaning} |")
    return "\n".join(lines)
