"""The ONNX graph of a trained GAPC or GMPC, written node by node.

By hand because it is small, has to stay small, and must come out the same every night; torch's
own exporter is its cross-check in the tests.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from config.settings import PATCH_SIZE
from device.judging.int8 import INT8_KEY
from device.judging.levelling import CONTRAST, GREY
from device.judging.model import METADATA_KEY, STANDARDISE_EPSILON, ModelMetadata

OPSET = 18
IR_VERSION = 9
MAP_SIZE = 13
"""Side of the class activation maps: the last convolution's output (Table 1)."""

CELLS = 6
"""Side of what is pooled of a patch, in cells of `pool2`."""

Layer = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Weight and bias."""


@dataclass(frozen=True, slots=True)
class Weights:
    """The trained weights of a network with global pooling (Table 1)."""

    kind: Literal["gapc", "gmpc"]
    convolutions: list[Layer]
    """Four layers: float32 [out, in, 3, 3] and [out]."""
    dense: Layer
    """float32 [C, 64] and [C]."""


def build_onnx(weights: Weights, metadata: ModelMetadata, int8: str | None = None) -> bytes:
    """The whole model file: graph, weights and metadata (contract: `device.judging.model`).

    `int8` is its int8 form (`device.judging.int8.pack`), if it has one.
    """
    if metadata.levelled:
        standardisation, numbers = (
            _constant_standardisation(),
            {
                "level": np.array(GREY, np.float32),
                "scale": np.array(1 / CONTRAST, np.float32),
            },
        )
    else:
        standardisation, numbers = (
            _standardisation(),
            {
                "rows": np.array([2], np.int64),
                "columns": np.array([3], np.int64),
                "rows_and_columns": np.array([2, 3], np.int64),
                "epsilon": np.array(STANDARDISE_EPSILON, np.float32),
            },
        )
    constants = [
        _constant("channel", np.array([1], np.int64)),
        *(_constant(name, value) for name, value in numbers.items()),
        _constant("dense_weight", weights.dense[0]),
        _constant("dense_bias", weights.dense[1]),
        _constant("map_weight", weights.dense[0][:, :, None, None]),
    ]
    for number, (weight, bias) in enumerate(weights.convolutions, 1):
        constants += [_constant(f"weight{number}", weight), _constant(f"bias{number}", bias)]
    pooling = "AveragePool" if weights.kind == "gapc" else "MaxPool"
    node = helper.make_node
    nodes = [
        *standardisation,
        *_convolution("standardised", 1, stride=2),
        *_convolution("relu1", 2, stride=2),
        node("MaxPool", ["relu2"], ["pool1"], kernel_shape=[2, 2], strides=[2, 2]),
        *_convolution("pool1", 3, stride=2),
        *_convolution("relu3", 4, stride=1),
        node("MaxPool", ["relu4"], ["pool2"], kernel_shape=[2, 2], strides=[2, 2]),
        node(f"Global{pooling}", ["pool2"], ["pooled"]),
        node("Flatten", ["pooled"], ["features"]),
        node("Gemm", ["features", "dense_weight", "dense_bias"], ["logits"], transB=1),
        node("LogSoftmax", ["logits"], ["log_probabilities"], axis=1),
        node("Conv", ["relu4", "map_weight"], ["activation_maps"], kernel_shape=[1, 1]),
    ]
    classes, features = weights.dense[0].shape
    outputs: dict[str, list[int | str]] = {
        "log_probabilities": ["N", classes],
        "features": ["N", features],
        "activation_maps": ["N", classes, MAP_SIZE, MAP_SIZE],
    }
    if metadata.levelled:
        nodes += _windows(pooling)
        outputs["activation_maps"][2:] = ["map_rows", "map_columns"]
        outputs["window_log_probabilities"] = ["N", classes, "window_rows", "window_columns"]
    sides = ["H", "W"] if metadata.levelled else [PATCH_SIZE, PATCH_SIZE]
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "millsight",
        [tensor("patches", TensorProto.UINT8, ["N", *sides])],
        [tensor(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        constants,
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="millsight",
        producer_version=metadata.code_version,
    )
    properties = {METADATA_KEY: metadata.model_dump_json(exclude_defaults=True)}
    if int8 is not None:
        properties[INT8_KEY] = int8
    helper.set_model_props(model, properties)
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _constant(name: str, value: NDArray[np.generic]) -> TensorProto:
    return numpy_helper.from_array(np.ascontiguousarray(value), name)


def _standardisation() -> list[onnx.NodeProto]:
    """From `patches` to `standardised`, float32 [N, 1, 200, 200].

    Squares are summed in two steps. One float32 sum of 40,000 squares, which is what ONNX
    Runtime's InstanceNormalization makes, loses five digits, and with them the parity.
    """
    node = helper.make_node
    return [
        node("Cast", ["patches"], ["grey"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["grey", "channel"], ["image"]),
        node("ReduceMean", ["image", "rows_and_columns"], ["mean"]),
        node("Sub", ["image", "mean"], ["centred"]),
        node("Mul", ["centred", "centred"], ["squares"]),
        node("ReduceMean", ["squares", "columns"], ["row_variances"]),
        node("ReduceMean", ["row_variances", "rows"], ["variance"]),
        node("Add", ["variance", "epsilon"], ["variance_with_epsilon"]),
        node("Sqrt", ["variance_with_epsilon"], ["deviation"]),
        node("Reciprocal", ["deviation"], ["scale"]),
        node("Mul", ["centred", "scale"], ["standardised"]),
    ]


def _constant_standardisation() -> list[onnx.NodeProto]:
    """From levelled `patches` to `standardised`, float32 [N, 1, H, W]."""
    node = helper.make_node
    return [
        node("Cast", ["patches"], ["grey"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["grey", "channel"], ["image"]),
        node("Sub", ["image", "level"], ["centred"]),
        node("Mul", ["centred", "scale"], ["standardised"]),
    ]


def _windows(pooling: str) -> list[onnx.NodeProto]:
    """What every patch of a frame has pooled, a patch at each cell of `pool2`, and its class."""
    node = helper.make_node
    return [
        node(pooling, ["pool2"], ["windows"], kernel_shape=[CELLS, CELLS], strides=[1, 1]),
        node("Conv", ["windows", "map_weight", "dense_bias"], ["window_logits"],
             kernel_shape=[1, 1]),
        node("LogSoftmax", ["window_logits"], ["window_log_probabilities"], axis=1),
    ]  # fmt: skip


def _convolution(source: str, number: int, stride: int) -> list[onnx.NodeProto]:
    return [
        helper.make_node(
            "Conv",
            [source, f"weight{number}", f"bias{number}"],
            [f"conv{number}"],
            kernel_shape=[3, 3],
            strides=[stride, stride],
            pads=[1, 1, 1, 1],
        ),
        helper.make_node("Relu", [f"conv{number}"], [f"relu{number}"]),
    ]
