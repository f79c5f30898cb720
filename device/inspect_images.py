"""What `millsight device inspect` does with one image."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from camera.folder import read_grey
from config.errors import UserError
from config.recipes import Under
from config.settings import Recipe
from device.judging.model import Model, load_model
from device.judging.patches import Cutter
from device.judging.verdict import frame_verdict, judge
from device.models.activation import check_recipe, model_path
from device.models.models_in_use import in_force
from device.store.database import open_store_of


def model_for(under: Under, file: Path | None) -> Model:
    """The model of a file, or else the one in use for the recipe.

    Raises:
        UserError: there is none, or it does not fit the recipe.
    """
    settings = under.settings
    if file is None:
        db = open_store_of(settings)
        model_id = in_force(db, under.key).model_id
        db.close()
        if model_id is None:
            raise UserError(
                f"{settings.device.data}: no model in use yet; name one with --model, "
                "or label the questions and train"
            )
        file = model_path(settings.device.data, model_id)
    model = load_model(file, settings.device.threads)
    check_recipe(model.metadata, settings.recipe, str(file))
    return model


def inspect_image(path: Path, model: Model, recipe: Recipe, out: Path) -> dict[str, Any]:
    """Judge one image and write its overlay; the result is ready for JSON.

    Raises:
        UserError: the image cannot be read, does not fit the recipe, or the overlay cannot be
            written.
    """
    image = read_grey(path)
    cut = Cutter(recipe).cut(image)
    if not cut.regions:
        height, width = image.shape
        raise UserError(
            f"{path}: {width} × {height} pixels do not fit recipe {recipe.name!r}; "
            "mend recipe.regions or recipe.frame_width_px and recipe.frame_height_px"
        )
    shared = () if cut.shared is None else (cut.shared,)
    judged = judge(model, cut.patches, maps=True, shared=shared)
    assert judged.maps is not None
    verdict, index = frame_verdict(judged.predicted.tolist(), judged.unsure.tolist(), model.passes)
    classes = model.metadata.classes
    overlay = np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), np.uint8)
    patches = []
    for i, region in enumerate(cut.regions):
        predicted = int(judged.predicted[i])
        draw_heat(
            overlay[region.y : region.y + region.height, region.x : region.x + region.width],
            judged.maps[i, predicted],
        )
        probabilities = np.exp(judged.log_probabilities[i].astype(np.float64))
        patches.append(
            {
                "region": region.model_dump(),
                "predicted": classes[predicted],
                "unsure": bool(judged.unsure[i]),
                model.metadata.strategy: float(judged.scores[i]),
                "threshold": model.metadata.thresholds[predicted],
                "pdc": {c: float(p) for c, p in zip(classes, probabilities, strict=True)},
            }
        )
    overlay_path = out / f"{path.parent.name}-{path.stem}.png"
    try:
        out.mkdir(parents=True, exist_ok=True)
        overlay_path.write_bytes(cv2.imencode(".png", overlay)[1].tobytes())
    except OSError as error:
        raise UserError(f"{overlay_path}: cannot be written: {error.strerror}") from None
    return {
        "image": str(path),
        "verdict": verdict,
        "class": classes[index] if index >= 0 else None,
        "model": model.id,
        "patches": patches,
        "overlay": str(overlay_path),
    }


def draw_heat(picture: NDArray[np.uint8], activation_map: NDArray[np.float32]) -> None:
    """Lay a class activation map [13, 13] over its part of a BGR picture, in place (Fig. 9).

    What speaks against the class is left as it is; the warmest spot is opaque to one half.
    """
    height, width = picture.shape[:2]
    heat = np.maximum(activation_map, 0)
    heat = heat / max(float(heat.max()), 1e-12)
    smooth = cv2.resize(heat, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    colour = cv2.applyColorMap((255 * smooth).astype(np.uint8), cv2.COLORMAP_JET)
    weight = 0.5 * smooth[..., None]
    picture[:] = ((1 - weight) * picture + weight * colour).astype(np.uint8)


def inspection_lines(result: dict[str, Any]) -> list[str]:
    """The result of one image for people."""
    named = f" ({result['class']})" if result["class"] else ""
    lines = [f"{result['image']}: {result['verdict']}{named}, map in {result['overlay']}"]
    for patch in result["patches"]:
        best = sorted(patch["pdc"].items(), key=lambda item: -item[1])[:3]
        guesses = ", ".join(f"{name} {100 * p:.1f} %" for name, p in best)
        score = next(f"{k} {patch[k]:.4f}" for k in ("kls", "kls_floor") if k in patch)
        limit = "none" if patch["threshold"] is None else f"{patch['threshold']:.4f}"
        lines.append(f"  {guesses}; {score} (threshold {limit})")
    return lines
