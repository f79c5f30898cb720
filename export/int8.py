"""The int8 graph of a trained GAPC or GMPC (contract: `device.judging.int8`), written node by node.

onnxruntime's own quantiser surrounds every convolution with conversions that cost more than the
convolution saves. Here feature maps stay bytes from the first layer to the last, ReLU is the zero
point of the next layer's bytes, and the first convolution takes four columns at a time: with one
input channel ONNX Runtime's int8 kernel is three times as slow.
"""

from collections.abc import Iterator

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from config.settings import PATCH_SIZE
from device.judging.int8 import ZERO
from device.judging.patches import Patches
from export.graph import IR_VERSION, OPSET, Layer, Weights

LARGEST_INPUT = 6.0
"""Standard deviations beyond which a grey value is cut off."""
GROUP = 4
"""Columns that the first convolution takes as channels: its kernel of three columns at stride two
becomes one of two groups at stride one, with two output columns as channels."""
RANGES = ("relu1", "relu2", "relu3", "relu4")
CALIBRATED = 256
"""Patches that the ranges are measured on, at most."""
CHUNK = 4


def measure_ranges(model: bytes, patches: Patches) -> list[float]:
    """The largest value behind each ReLU over patches, uint8 [N, 200, 200], of a float32 model."""
    proto = onnx.load_from_string(model)
    for name in RANGES:
        proto.graph.node.append(helper.make_node("ReduceMax", [name], [f"{name}_max"], keepdims=0))
        proto.graph.output.append(
            helper.make_tensor_value_info(f"{name}_max", TensorProto.FLOAT, [])
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = ort.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    chosen = patches[:: max(1, len(patches) // CALIBRATED)]
    names = [f"{name}_max" for name in RANGES]
    largest = np.full(len(names), 1e-3)
    for start in range(0, len(chosen), CHUNK):
        found = session.run(names, {"patches": chosen[start : start + CHUNK]})
        largest = np.maximum(largest, np.array(found))
    return [float(value) for value in largest]


def build_int8(weights: Weights, ranges: list[float]) -> tuple[bytes, float]:
    """The int8 graph, and the step of its input, in standard deviations.

    `ranges` are the largest values behind the four ReLUs (`measure_ranges`).
    """
    steps = [LARGEST_INPUT / 127, *(value / 255 for value in ranges)]
    constants = [
        _constant("zero", np.array(0, np.uint8)),
        _constant("middle", np.array(ZERO, np.uint8)),
        _constant("groups", np.array([-1, PATCH_SIZE, PATCH_SIZE // GROUP, GROUP], np.int64)),
        _constant("columns", np.array([-1, PATCH_SIZE // 2, PATCH_SIZE // 2, 32], np.int64)),
        _constant("dense_weight", weights.dense[0]),
        _constant("dense_bias", weights.dense[1]),
        *(_constant(f"step{i}", np.array(step, np.float32)) for i, step in enumerate(steps)),
    ]
    layers = [grouped(weights.convolutions[0]), *weights.convolutions[1:]]
    for number, layer in enumerate(layers, 1):
        constants += _quantised(number, layer, steps[number - 1])
    pooling = "GlobalAveragePool" if weights.kind == "gapc" else "GlobalMaxPool"
    node = helper.make_node
    nodes = [
        # The kernels take channels last: these transpositions cancel with those that ONNX Runtime
        # puts in, so that nothing is moved.
        node("Reshape", ["standardised", "groups"], ["grouped"]),
        node("Transpose", ["grouped"], ["image"], perm=[0, 3, 1, 2]),
        _convolution("image", 1, "pairs", [3, 2], [2, 1], [1, 1, 1, 0]),
        node("Transpose", ["pairs"], ["pairs_last"], perm=[0, 2, 3, 1]),
        node("Reshape", ["pairs_last", "columns"], ["maps_last"]),
        node("Transpose", ["maps_last"], ["maps1"], perm=[0, 3, 1, 2]),
        _convolution("maps1", 2, "maps2", [3, 3], [2, 2], [1, 1, 1, 1]),
        node("MaxPool", ["maps2"], ["pool1"], kernel_shape=[2, 2], strides=[2, 2]),
        _convolution("pool1", 3, "maps3", [3, 3], [2, 2], [1, 1, 1, 1]),
        _convolution("maps3", 4, "maps4", [3, 3], [1, 1], [1, 1, 1, 1]),
        node("MaxPool", ["maps4"], ["pool2"], kernel_shape=[2, 2], strides=[2, 2]),
        node("DequantizeLinear", ["pool2", "step4", "zero"], ["float2"]),
        node(pooling, ["float2"], ["pooled"]),
        node("Flatten", ["pooled"], ["features"]),
        node("Gemm", ["features", "dense_weight", "dense_bias"], ["logits"], transB=1),
        node("LogSoftmax", ["logits"], ["log_probabilities"], axis=1),
    ]
    tensor = helper.make_tensor_value_info
    side, classes = PATCH_SIZE, len(weights.dense[1])
    graph = helper.make_graph(
        nodes,
        "millsight-int8",
        [tensor("standardised", TensorProto.UINT8, ["N", side, side])],
        [tensor("log_probabilities", TensorProto.FLOAT, ["N", classes])],
        constants,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content, steps[0]


def grouped(layer: Layer) -> Layer:
    """The first convolution on groups of columns: float32 [out, 1, 3, 3] to [2 · out, 4, 3, 2].

    Output channel j · out + o is channel o at the j-th column of each group's outputs.
    """
    weight, bias = layer
    out, outputs = len(weight), GROUP // 2
    result = np.zeros((outputs, out, GROUP, 3, 2), np.float32)
    for j in range(outputs):
        for k in range(3):
            column = 2 * j + k - 1  # from the group's first; −1 is the group before
            result[j, :, column % GROUP, :, int(column >= 0)] = weight[:, 0, :, k]
    return result.reshape(outputs * out, GROUP, 3, 2), np.tile(bias, outputs)


def _quantised(number: int, layer: Layer, step: float) -> Iterator[TensorProto]:
    """A layer's weights, symmetric and per output channel, and its bias in steps of both."""
    weight, bias = layer
    scale = np.maximum(np.abs(weight).reshape(len(weight), -1).max(axis=1), 1e-9) / 127
    whole = np.rint(weight / scale[:, None, None, None]).clip(-127, 127)
    yield _constant(f"weight{number}", whole.astype(np.int8))
    yield _constant(f"weight_step{number}", scale.astype(np.float32))
    yield _constant(f"weight_zero{number}", np.zeros(len(weight), np.int8))
    most = 2**31 - 1
    yield _constant(
        f"bias{number}", np.rint(bias / (scale * step)).clip(-most, most).astype(np.int32)
    )


def _convolution(
    source: str, number: int, result: str, kernel: list[int], strides: list[int], pads: list[int]
) -> onnx.NodeProto:
    """A convolution from bytes to bytes; what is below zero is cut off, which is its ReLU."""
    before = number - 1
    return helper.make_node(
        "QLinearConv",
        [
            source, f"step{before}", "zero" if before else "middle",
            f"weight{number}", f"weight_step{number}", f"weight_zero{number}",
            f"step{number}", "zero", f"bias{number}",
        ],
        [result],
        kernel_shape=kernel,
        strides=strides,
        pads=pads,
    )  # fmt: skip


def _constant(name: str, value: NDArray[np.generic]) -> TensorProto:
    return numpy_helper.from_array(np.ascontiguousarray(value), name)
