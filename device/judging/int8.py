"""The int8 form of a model: a second, smaller graph of the same weights inside the model file.

The file's metadata holds it under a key of its own, so that one file, one id and one signature
cover both. Standardisation is not in this graph: OpenCV does it in two passes over bytes, where
ONNX Runtime needs ten over floats. Quantisation: Jacob et al. 2018, per channel for the weights.
"""

import base64
import binascii
import json
import math
from dataclasses import dataclass

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from config.errors import UserError
from config.settings import PATCH_SIZE
from device.judging.onnx_file import INT8_OPERATORS, check_model_file
from device.judging.patches import Patches, Some

INT8_KEY = "millsight.int8"
ZERO = 128
"""The byte that stands for a standardised grey value of 0."""
CHUNK = 4
"""Patches per inference; feature maps are bytes here, so that more of them fit into the cache."""


@dataclass(frozen=True, slots=True)
class Int8:
    """A loaded int8 graph."""

    session: ort.InferenceSession
    step: float
    """Standard deviations of a patch between two bytes of the graph's input."""
    epsilon: float
    """Added to the variance, as in the float32 graph."""

    def log_probabilities(self, patches: Some) -> NDArray[np.float32]:
        """Judge N patches: float32 [N, C]."""
        parts = []
        for start in range(0, len(patches), CHUNK):
            feed = standardise(patches[start : start + CHUNK], self.step, self.epsilon)
            parts.append(self.session.run(["log_probabilities"], {"standardised": feed})[0])
        return np.asarray(parts[0]) if len(parts) == 1 else np.concatenate(parts)


def standardise(patches: Some, step: float, epsilon: float) -> Patches:
    """N patches as bytes of `step` standard deviations around `ZERO`, uint8 [N, 200, 200]."""
    result = np.empty((len(patches), PATCH_SIZE, PATCH_SIZE), np.uint8)
    for patch, out in zip(patches, result, strict=True):
        mean, deviation = cv2.meanStdDev(patch)
        scale = 1 / (step * math.sqrt(float(deviation[0, 0]) ** 2 + epsilon))
        cv2.addWeighted(patch, scale, patch, 0, ZERO - scale * float(mean[0, 0]), dst=out)
    return result


def pack(graph: bytes, step: float) -> str:
    """What the metadata of a model file holds under `INT8_KEY`."""
    return json.dumps({"graph": base64.b64encode(graph).decode("ascii"), "step": step})


def unpack(text: str, epsilon: float, options: ort.SessionOptions, name: str) -> Int8:
    """Check and load what `pack` made; `name` stands in the errors.

    Raises:
        UserError: not what our exporter writes.
    """
    try:
        found = json.loads(text)
        graph = base64.b64decode(found["graph"], validate=True)
        step = float(found["step"])
    except (ValueError, KeyError, TypeError, binascii.Error):
        raise UserError(f"{name}: its int8 form is damaged; export it again") from None
    if not 1e-4 < step < 1:
        raise UserError(f"{name}: its int8 form has steps of {step:g}; export it again")
    check_model_file(graph, f"{name}: int8 form", INT8_OPERATORS)
    try:
        session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - ONNX Runtime has no common error class
        raise UserError(
            f"{name}: its int8 form cannot be run ({str(error).splitlines()[0][:200]})"
        ) from None
    return Int8(session, step, epsilon)
