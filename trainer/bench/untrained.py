"""A network that has learnt nothing, as a model file: as fast as one that has."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from config.settings import Recipe
from device.judging.int8 import pack
from device.judging.kls import fit_baselines, kls, predicted_classes
from device.judging.model import FORMAT, Model, ModelMetadata, load_model_bytes
from device.judging.patches import Patches
from export.graph import Layer, Weights, build_onnx
from export.int8 import build_int8, measure_ranges

SURE_SHARE = 0.9
"""Share of the patches whose score is under the threshold, as it is of a trained model."""


def untrained_model(path: Path, recipe: Recipe, patches: Patches) -> Model:
    """Write a model with random weights for a recipe, fitted to patches, uint8 [N, 200, 200].

    Its predictions are spread over the classes, and most of them count as sure.
    """
    weights = _random_weights(len(recipe.classes))
    features = _loaded(weights, untrained_metadata(recipe)).outputs(patches).features
    weight, _bias = weights.dense
    weight = 8 * weight
    weights = replace(weights, dense=(weight, -(weight @ features.mean(axis=0))))
    log_p = _loaded(weights, untrained_metadata(recipe)).log_probabilities(patches)
    fitted = fit_baselines(log_p)
    scores, predicted = kls(log_p, fitted), predicted_classes(log_p)
    metadata = untrained_metadata(
        recipe,
        baselines=[
            row.tolist() if count else None
            for row, count in zip(fitted.pdc, fitted.counts, strict=True)
        ],
        baseline_counts=fitted.counts.tolist(),
        thresholds=[
            float(np.quantile(scores[predicted == c], SURE_SHARE)) if count else None
            for c, count in enumerate(fitted.counts)
        ],
    )
    content = build_onnx(weights, metadata)
    if not metadata.levelled:
        graph, step = build_int8(weights, measure_ranges(content, patches))
        content = build_onnx(weights, metadata, pack(graph, step))
    path.write_bytes(content)
    return load_model_bytes(content, str(path))


def _loaded(weights: Weights, metadata: ModelMetadata) -> Model:
    return load_model_bytes(build_onnx(weights, metadata), "untrained")


def _random_weights(classes: int) -> Weights:
    """Those of a GAPC (Table 1) before its training (He et al. 2015)."""
    rng = np.random.default_rng(0)

    def layer(*shape: int) -> Layer:
        spread = np.sqrt(2 / np.prod(shape[1:]))
        weight = rng.normal(0, spread, shape).astype(np.float32)
        return weight, np.zeros(shape[0], np.float32)

    convolutions = [layer(32, 1, 3, 3), layer(32, 32, 3, 3), layer(64, 32, 3, 3)]
    return Weights("gapc", [*convolutions, layer(64, 64, 3, 3)], layer(classes, 64))


def untrained_metadata(recipe: Recipe, **changes: object) -> ModelMetadata:
    """What a model says of itself that has learnt nothing, but for the changes."""
    count = len(recipe.classes)
    values: dict[str, object] = {
        "format": FORMAT,
        "network": "gapc",
        "classes": recipe.classes,
        "pass_classes": recipe.pass_classes,
        "strategy": "kls",
        "baselines": [None] * count,
        "baseline_counts": [0] * count,
        "thresholds": [None] * count,
        "labels": 0,
        "labels_digest": "",
        "metrics": {},
        "parent": None,
        "seed": 0,
        "code_version": "0",
        "created_at": "2026-01-01T00:00:00+00:00",
        "levelled": recipe.shared_maps,
    }
    return ModelMetadata.model_validate(values | changes)
