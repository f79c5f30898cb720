"""Writes the generated parts of the docs; with --check it only says which are out of date."""

import json
import re
import sys
from pathlib import Path

import cv2
from figures import month, neu_demo

from camera.milled_steel import contact_sheet
from config.document import to_markdown
from device.bench.growth import Scale
from device.bench.row import NO_AIM, Result
from device.machine.codes import as_markdown as codes_as_markdown
from device.machine.registers import as_markdown
from millsight import app

DOCS = Path(__file__).parent


def cli_reference() -> str:
    """`docs/cli.md`, from the help of every command."""
    return app.generate_docs(recursive=True, heading_level=1) + "\n"


def machine_page() -> str:
    """`docs/machine.md`, with its tables of codes and registers as they are in the code."""
    text = (DOCS / "machine.md").read_text(encoding="utf-8")
    tables = {
        "codes": codes_as_markdown(),
        "registers": as_markdown(),
        "rig": rig_table(),
        "faults": faults_table(),
    }
    for name, table in tables.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = f"{before}{begin}\n{table}\n\n{end}{after}"
    return text


RIG = DOCS / "results" / "machine"
FAULTS = {
    "camera_killed": "camera killed and back",
    "packets_lost": "0.5 % of the camera's packets lost",
    "line_unplugged": "serial line unplugged and back",
    "line_garbled": "garbled line",
    "plc_silent": "PLC silent for 1.5 s",
    "triggered_twice": "triggered twice",
    "recipe_edited": "triggered while a recipe is edited",
    "broker_down": "broker down",
    "light_silent": "ring light silent",
}


def rig_table() -> str:
    """What the long run of the rig counted, and what its parts took."""
    found = json.loads((RIG / "rig-hour.json").read_text())
    latency = found["latency"]
    counts = ", ".join(f"{n:,} {verdict}" for verdict, n in sorted(found["verdicts"].items()))
    codes = ", ".join(f"code {code}: {n}" for code, n in sorted(found["codes"].items()))
    lines = [
        f"{found['minutes']:.0f} minutes, {found['parts']:,} parts: {found['ok']:,} OK, "
        f"{found['ng']:,} NG, {found['not_answered']} without an answer. The box: {counts}"
        f"{f' ({codes})' if codes else ''}. False OK: {len(found['false_ok'])}; false NG: "
        f"{len(found['false_ng'])}; two verdicts for a part: {len(found['twice'])}; no verdict in "
        f"{latency['deadline_ms'] / 1000:g} s: {latency['missed']}.",
        "",
        "| ms | median | 99th percentile | worst |",
        "|---|---|---|---|",
    ]
    rows = {"**trigger to result**": latency["total_ms"], **latency["steps_ms"]}
    lines += [
        f"| {name} | {took['median']:.1f} | {took['p99']:.1f} | {took['worst']:.1f} |"
        for name, took in rows.items()
    ]
    return "\n".join(lines)


def faults_table() -> str:
    """What was broken over the rig, and how soon a part was judged again."""
    found = json.loads((RIG / "rig-faults.json").read_text())
    lines = [
        "| fault | times | codes met | judged again after (median, worst) |",
        "|---|---|---|---|",
    ]
    for name, row in found["faults"].items():
        codes = ", ".join(map(str, row["codes"])) or "none"
        lines.append(
            f"| {FAULTS[name]} | {row['times']} | {codes} "
            f"| {row['median_s']:.2f} s, {row['worst_s']:.2f} s |"
        )
    rig = found["rig"]
    lines += [
        "",
        f"{rig['parts']} parts on the mill meanwhile, {rig['ok']} OK and {rig['ng']} NG; false OK: "
        f"{len(rig['false_ok'])}; two verdicts for a part: {len(rig['twice'])}.",
    ]
    return "\n".join(lines)


def speed_page() -> str:
    """`docs/speed.md`, with its tables as they were measured last."""
    text = (DOCS / "speed.md").read_text(encoding="utf-8")
    found = Result.model_validate_json((DOCS / "results" / "bench.json").read_text())
    runs = sorted({len(row.runs) for row in found.rows})
    lines = [
        f"{found.machine}; medians of {'–'.join(map(str, runs))} runs.",
        "",
        "| figure | median | yardstick | ratio (spread) | aim | met |",
        "|---|---|---|---|---|---|",
    ]
    for row in found.rows:
        judged = "– | –" if row.aim == NO_AIM else f"{row.aim} | {'yes' if row.met else '**no**'}"
        lines.append(
            f"| {row.name} | {row.value:.4g} {row.unit} | {row.yardstick} "
            f"| {row.ratio:.2f} ({min(row.runs):.2f}–{max(row.runs):.2f}) | {judged} |"
        )
    tables = {"bench": "\n".join(lines), "scale": scale_table(), "overlap": overlap_table()}
    for name, table in tables.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = f"{before}{begin}\n{table}\n\n{end}{after}"
    return text


def scale_table() -> str:
    """How cost grows, as `millsight bench scale` measured it last."""
    found = Scale.model_validate_json((DOCS / "results" / "scale.json").read_text())
    lines = [
        f"{found.machine}.",
        "",
        "| what grows | what costs | from | to | exponent (95 % interval) | between the last two |",
        "|---|---|---|---|---|---|",
    ]
    for growth in found.growths:
        ends = (growth.points[0], growth.points[-1])
        sizes = " | ".join(f"{p.size:,}: {p.cost:.3g} {growth.unit}" for p in ends)
        last = f"{growth.last:.2f}" if growth.met else f"**{growth.last:.2f}**"
        lines.append(
            f"| {growth.name} | {growth.cost} | {sizes} "
            f"| {growth.exponent:.2f} ({growth.low:.2f} to {growth.high:.2f}) | {last} |"
        )
    return "\n".join(lines)


WAYS = {
    "patch / patch, alone": "the patch itself, alone (in use)",
    "patch / frame, alone": "trained so, judged by the frame, alone",
    "patch / frame, shared maps": "trained so, judged by the frame, shared maps",
    "patch / place, alone": "trained so, judged by what is around, alone",
    "patch / place, shared maps": "trained so, judged by what is around, shared maps",
    "frame / frame, alone": "the frame, alone",
    "frame / frame, shared maps": "the frame, shared maps",
    "place / place, alone": "what is around every place, alone",
    "place / place, shared maps": "what is around every place, shared maps (in use)",
    "place / place, alike": "of these two the same class",
}


def overlap_table() -> str:
    """What shared feature maps cost in accuracy."""
    found = json.loads((DOCS / "results" / "lab" / "overlap.json").read_text())
    runs = found["runs"]
    seeds = ", ".join(str(run["seed"]) for run in runs)
    counts = {name: runs[0]["patches"][name] for name in ("simulated", "pasted")}
    lines = [
        f"Seeds {seeds}.",
        "",
        f"| standardised by | simulated frames, {counts['simulated']:,} patches "
        f"| pasted NEU images, {counts['pasted']:,} |",
        "|---|---|---|",
    ]
    for key, name in WAYS.items():
        cells = [
            ", ".join(f"{100 * run[kind][key]:.1f}" for run in runs if key in run[kind]) or "–"
            for kind in ("simulated", "pasted")
        ]
        lines.append(f"| {name} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def with_tables(page: Path) -> str:
    """A page with the laboratory's tables, between their marks, as they are in results/lab."""

    def table(mark: re.Match[str]) -> str:
        text = (DOCS / "results" / "lab" / f"{mark[1]}.md").read_text()
        return f"<!-- lab: {mark[1]} -->\n{text}<!-- end -->"

    marks = r"<!-- lab: (\w+) -->\n.*?<!-- end -->"
    return re.sub(marks, table, page.read_text(), flags=re.DOTALL)


def main() -> int:
    """Write what is out of date; the exit status tells whether anything was."""
    pages = {
        "cli.md": cli_reference().encode(),
        "settings.md": to_markdown().encode(),
        "machine.md": machine_page().encode(),
        "speed.md": speed_page().encode(),
        "laboratory.md": with_tables(DOCS / "laboratory.md").encode(),
    }
    stale = [name for name, text in pages.items() if not _same(DOCS / name, text)]
    for name in stale:
        print(f"docs/{name} is out of date; run: make docs")
    if "--check" in sys.argv:
        return int(bool(stale))
    for name in stale:
        (DOCS / name).write_bytes(pages[name])
    images = DOCS / "images"
    images.mkdir(exist_ok=True)
    cv2.imwrite(str(images / "contact-sheet.jpg"), contact_sheet(7), [cv2.IMWRITE_JPEG_QUALITY, 88])
    neu_demo(images / "neu-demo.png")
    month(images / "month.png")
    return 0


def _same(path: Path, text: bytes) -> bool:
    return path.is_file() and path.read_bytes() == text


if __name__ == "__main__":
    sys.exit(main())
