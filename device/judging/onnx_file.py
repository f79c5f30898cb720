"""A model file looked at before ONNX Runtime opens it: protobuf read field by field, no onnx.

The device opens only what our exporter writes: every field of every message must be one that it
uses, every operator one that it emits, every weight lie in the file, have the length of its shape
and be finite. So a file cannot name other files, bring code of its own, or ask for memory that its
bytes do not pay for. Field numbers: onnx.proto (ONNX IR version 9).
"""

import math
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np

from config.errors import UserError

OPERATORS = frozenset(
    {
        *("Add", "AveragePool", "Cast", "Conv", "Flatten", "Gemm", "GlobalAveragePool"),
        *("GlobalMaxPool", "LogSoftmax", "MaxPool", "Mul", "Reciprocal", "ReduceMean"),
        *("Relu", "Sqrt", "Sub", "Unsqueeze"),
    }
)
"""What `export.graph` emits."""
INT8_OPERATORS = frozenset(
    {
        *("DequantizeLinear", "Flatten", "Gemm", "GlobalAveragePool", "GlobalMaxPool"),
        *("LogSoftmax", "MaxPool", "QLinearConv", "Reshape", "Transpose"),
    }
)
"""What `export.int8` emits."""
MOST_NODES = 64
MOST_WEIGHTS = 64
LARGEST_DIMENSION = 512
LARGEST_ATTRIBUTE = 16
"""No stride, kernel, padding or axis is anywhere near it."""
OPSETS = range(18, 22)

FLOAT, UINT8, INT8, INT32, INT64 = 1, 2, 3, 6, 7
_BYTES_EACH = {FLOAT: 4, UINT8: 1, INT8: 1, INT32: 4, INT64: 8}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

Value: TypeAlias = int | bytes | memoryview
Field: TypeAlias = tuple[int, int, Value]
"""Number, wire type and value of a field."""

# Message by message: the fields that may be there.
_MODEL = {1: "ir_version", 2: "producer", 3: "producer_version", 7: "graph", 8: "opset", 14: "meta"}
_GRAPH = {1: "node", 2: "name", 5: "initializer", 11: "input", 12: "output"}
_NODE = {1: "input", 2: "output", 3: "name", 4: "op_type", 5: "attribute"}
_ATTRIBUTE = {1: "name", 3: "i", 8: "ints", 20: "type"}
_TENSOR = {1: "dims", 2: "data_type", 8: "name", 9: "raw_data"}
_OPSET = {1: "domain", 2: "version"}
_WHAT = {
    ("model", 20): "training code",
    ("model", 25): "functions of its own",
    ("graph", 15): "sparse weights",
    ("node", 7): "an operator of another domain",
    ("attribute", 6): "a graph inside the graph",
    ("attribute", 11): "a graph inside the graph",
    ("attribute", 5): "a tensor in an attribute",
    ("tensor", 13): "weights outside the file",
    ("tensor", 14): "weights outside the file",
}


class _NotProtobufError(ValueError):
    """The bytes are no protobuf message."""


def check_model_file(data: bytes, name: str, operators: frozenset[str] = OPERATORS) -> None:
    """Refuse a file that is anything else than what our exporter writes.

    `name` stands in the errors; `operators` are those that it may use.

    Raises:
        UserError: not a whole ONNX file, or something in it that a model of ours never has.
    """
    try:
        _check(memoryview(data), name, operators)
    except _NotProtobufError as error:
        raise UserError(
            f"{name}: not an ONNX model that can be run ({error}); copy it again or retrain"
        ) from None


def _check(data: memoryview, name: str, operators: frozenset[str]) -> None:
    graphs = []
    opsets = 0
    for field, value in _fields(data, "model", _MODEL, name):
        if field == "graph":
            graphs.append(_bytes(value))
        elif field == "opset":
            opsets += 1
            _check_opset(_bytes(value), name)
    if len(graphs) != 1 or opsets != 1:
        raise _NotProtobufError(f"{len(graphs)} graphs, {opsets} operator sets")
    nodes = weights = 0
    for field, value in _fields(graphs[0], "graph", _GRAPH, name):
        if field == "node":
            nodes += 1
            _check_node(_bytes(value), name, operators)
        elif field == "initializer":
            weights += 1
            _check_weight(_bytes(value), name)
    if nodes > MOST_NODES or weights > MOST_WEIGHTS:
        raise _refusal(name, f"{nodes} operators and {weights} weights, more than ours have")


def _check_opset(data: memoryview, name: str) -> None:
    found = dict(_fields(data, "opset", _OPSET, name))
    domain, version = _text(found.get("domain", b"")), found.get("version")
    if domain not in {"", "ai.onnx"}:
        raise _refusal(name, f"operators of domain {domain[:40]!r}")
    if version not in OPSETS:
        raise _refusal(name, f"operator set {version!r}")


def _check_node(data: memoryview, name: str, operators: frozenset[str]) -> None:
    kind = ""
    for field, value in _fields(data, "node", _NODE, name):
        if field == "op_type":
            kind = _text(value)
        elif field == "attribute":
            for inner, number in _fields(_bytes(value), "attribute", _ATTRIBUTE, name):
                if inner in {"i", "ints"}:
                    _check_numbers(number, name)
    if kind not in operators:
        raise _refusal(name, f"operator {kind[:40]!r}")


def _check_numbers(value: Value, name: str) -> None:
    """An attribute's number, or several packed into bytes."""
    for number in [value] if isinstance(value, int) else _varints(_bytes(value)):
        if number > LARGEST_ATTRIBUTE and 2**64 - number > LARGEST_ATTRIBUTE:
            raise _refusal(name, f"an operator with a setting of {number}")


def _check_weight(data: memoryview, name: str) -> None:
    shape: list[int] = []
    kind, raw, label = 0, memoryview(b""), ""
    for field, value in _fields(data, "tensor", _TENSOR, name):
        if field == "dims":
            shape += [value] if isinstance(value, int) else list(_varints(_bytes(value)))
        elif field == "data_type":
            kind = value if isinstance(value, int) else 0
        elif field == "raw_data":
            raw = _bytes(value)
        else:
            label = _text(value)[:40]
    if kind not in _BYTES_EACH:
        raise _refusal(name, f"weights {label!r} of data type {kind}")
    if len(shape) > 4 or any(side > LARGEST_DIMENSION for side in shape):
        raise _refusal(name, f"weights {label!r} of shape {shape[:8]}")
    if math.prod(shape) * _BYTES_EACH[kind] != len(raw):
        raise _refusal(name, f"weights {label!r} of {len(raw)} bytes for shape {shape}")
    if kind == FLOAT and not np.isfinite(np.frombuffer(raw, "<f4")).all():
        raise UserError(f"{name}: weights {label!r} are not finite: broken weights; retrain")


def _refusal(name: str, what: str) -> UserError:
    return UserError(
        f"{name}: not a millsight model: has {what}; it was not opened; export it again"
    )


# --- protobuf's wire format ---------------------------------------------------------------------


def _fields(
    data: memoryview, message: str, known: dict[int, str], name: str
) -> Iterator[tuple[str, Value]]:
    """The fields of a message by their names, each a known one."""
    for number, _wire, value in list(_wire_fields(data)):  # whole, before it is judged
        if number not in known:
            what = _WHAT.get((message, number), f"field {number} in a {message}")
            raise _refusal(name, what)
        yield known[number], value


def _wire_fields(data: memoryview) -> Iterator[Field]:
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        number, wire = key >> 3, key & 7
        value: Value
        if wire == _VARINT:
            value, position = _varint(data, position)
        elif wire == _BYTES:
            length, position = _varint(data, position)
            value = data[position : position + length]
            if len(value) != length:
                raise _NotProtobufError("it ends in the middle")
            position += length
        elif wire in {_FIXED64, _FIXED32}:
            length = 8 if wire == _FIXED64 else 4
            value = bytes(data[position : position + length])
            if len(value) != length:
                raise _NotProtobufError("it ends in the middle")
            position += length
        else:
            raise _NotProtobufError("it is no protobuf message")
        yield number, wire, value


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    result = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise _NotProtobufError("it ends in the middle")
        byte = data[position]
        position += 1
        result |= (byte & 127) << shift
        if byte < 128:
            return result, position
    raise _NotProtobufError("it is no protobuf message")


def _varints(data: memoryview) -> Iterator[int]:
    position = 0
    while position < len(data):
        number, position = _varint(data, position)
        yield number


def _bytes(value: Value) -> memoryview:
    if isinstance(value, int):
        raise _NotProtobufError("a number where a message should be")
    return memoryview(value)


def _text(value: Value) -> str:
    return bytes(_bytes(value)).decode("utf-8", "replace")
