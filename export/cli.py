"""`millsight export`: look into model files."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

app = App(name="export", help="Look into model files.")


@app.command
def inspect(file: Path, *, as_json: Annotated[bool, Parameter("--json")] = False) -> None:
    """Print what is inside a model file, after checking it as a device would.

    Parameters
    ----------
    file
        The model file.
    as_json
        Print the whole metadata as JSON.
    """
    from device.judging.model import load_model  # noqa: PLC0415

    model = load_model(file)
    metadata = model.metadata
    if as_json:
        print(metadata.model_dump_json(indent=2))
        return
    print(f"{file}: {model.size} bytes, id {model.id}")
    print(f"format {metadata.format}, {metadata.network}, made {metadata.created_at}")
    print(f"by millsight {metadata.code_version}, seed {metadata.seed}")
    print(f"from {metadata.labels} labels, digest {metadata.labels_digest[:12]}")
    print(f"parent {metadata.parent or 'none'}")
    for name, value in sorted(metadata.metrics.items()):
        print(f"{name} {value:.4g}")
    for array in model.session.get_inputs():
        print(f"input  {array.name} {array.type} {array.shape}")
    for array in model.session.get_outputs():
        print(f"output {array.name} {array.type} {array.shape}")
    print(f"{'class':<24}{'passes':<8}{'labels':>7}{'own share':>11}{'threshold':>11}")
    for index, name in enumerate(metadata.classes):
        pdc, threshold = metadata.baselines[index], metadata.thresholds[index]
        print(
            f"{name:<24}{'yes' if name in metadata.pass_classes else 'no':<8}"
            f"{metadata.baseline_counts[index]:>7}"
            f"{'none' if pdc is None else format(pdc[index], '.4f'):>11}"
            f"{'none' if threshold is None else format(threshold, '.4f'):>11}"
        )
