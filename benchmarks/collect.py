"""Run the benchmarks, each in its quick form, and write what they print into docs/performance.md.

    python benchmarks/collect.py
    python benchmarks/collect.py --only startup profile_step --runs 3
    python benchmarks/collect.py --take FOLDER

A benchmark is a process of its own whose last line is JSON. With ``--runs`` above 1 the benchmarks take turns; a number
is then the median over its runs, with the smallest and largest. The lines are kept in ``docs/data/performance.json``,
and the page is drawn from it: benchmarks that do not run this time keep the lines, versions and date that they have. A
benchmark that fails or exceeds ``--timeout`` is named, keeps its lines, and the status is 1.

``--take`` runs nothing: it takes the lines of benchmarks that ran by themselves, in their full form. A file of the
folder, ``NAME.json``, holds the line that a benchmark printed, and ``NAME.txt`` beside it the command; NAME is the
section.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE, LINES = ROOT / "docs" / "performance.md", ROOT / "docs" / "data" / "performance.json"
QUICK: dict[str, list[str]] = {
    "startup": ["--quick"],
    "profile_step": ["--quick"],
    "spin": ["--quick"],
    "step": ["--network", "small_vit", "--teacher", "small_cnn", "--batch", "64", "--steps", "6", "--rounds", "3"],
    "cpu": ["--networks", "small_vit", "small_cnn", "--batch", "64", "--seconds", "2", "--no-compile"],
    "waiting": ["--network", "small_vit", "--batch", "64", "--steps", "15"],
    "data": ["--batches", "256", "--images", "2000", "--rounds", "2"],
    "attention": ["--images", "128", "--batch", "64", "--rounds", "2"],
    "cka": ["--images", "256", "--batch", "64", "--rounds", "2"],
    "crd": ["--bank", "5000", "--negatives", "1024", "--rounds", "2"],
    "hessian": ["--images", "32", "--vectors", "2", "--rounds", "1"],
    "scaling": ["--quick", "--figure", "docs/figures/scaling.png"],
    "peers": ["--quick", "--only", "kd", "crd"],
    "revisions": ["--quick"],
}
"""Arguments by which a benchmark takes at most about a minute on two idle cores; all of them together at most ten."""
NOTES = {
    "scaling": "![Time of a step and of probes against their sizes, and the probes' memory](figures/scaling.png)\n\n",
    "peers": """RepDistiller and mdistiller are there if KDBIAS_REPDISTILLER and KDBIAS_MDISTILLER name checkouts,
lightly-train if KDBIAS_LIGHTLY names an interpreter that has it; its loss is another: similarities to a queue of the
teacher's features, without labels. What ours does otherwise: a fused optimiser, channels-last convolutions, no value
read back in a step, and in CRD scores without gathered vectors; what each of them gives is not measured here.
torchvision's workers: `benchmarks/data.py`.

""",
}
"""What stands before a benchmark's table."""
TEXT = """# Performance

`make bench` writes this page: every benchmark in its quick form, on the machine that its section names; sections whose
command is another were taken from a longer run. A number is a median, with the smallest and largest of its runs behind
it where there were several. Numbers of one section were measured side by side; those of different machines or dates do
not compare. `benchmarks/NAME.py --help` says what each measures, and its full form.
"""


def numbers(tree: Any, name: str = "") -> Iterator[tuple[str, float | None]]:
    """Give every number of a tree with its path; entries of a list are numbered from 0.

    >>> list(numbers({"a": {"b": 1, "c": [2, None]}, "d": "text"}))
    [('a: b', 1), ('a: c: 0', 2), ('a: c: 1', None)]
    """
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from numbers(value, f"{name}: {key}" if name else str(key))
    elif isinstance(tree, list):
        for place, value in enumerate(tree):
            yield from numbers(value, f"{name}: {place}")
    elif tree is None or (isinstance(tree, int | float) and not isinstance(tree, bool)):
        yield name, tree


def rows(lines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Give the rows of a benchmark's table; a list of median, smallest and largest is one cell."""
    runs = [dict(numbers({k: v for k, v in line.items() if k not in ("benchmark", "environment")})) for line in lines]
    done = set()
    for name in runs[0]:
        whole = name.rpartition(": ")[0]
        three = [f"{whole}: {place}" for place in range(3)]
        if name.endswith((": 0", ": 1", ": 2")) and all(each in runs[0] for each in three):
            if whole not in done:
                done.add(whole)
                every = [run.get(each) for run in runs for each in three]
                yield f"| {whole} | {cell([run.get(three[0]) for run in runs], every)} |"
        else:
            found = [run.get(name) for run in runs]
            yield f"| {name} | {cell(found, found)} |"


def cell(medians: Sequence[float | None], spread: Sequence[float | None]) -> str:
    """Give the median of what was measured and, of several numbers, the smallest and largest.

    >>> cell([2, 1, 4], [2, 1, 4]), cell([0.5], [0.5]), cell([None], [None])
    ('2 (1 to 4)', '0.5', '-')
    """
    known, every = ([each for each in values if each is not None] for values in (medians, spread))
    if not known:
        return "-"
    middle = f"{statistics.median(known):.4g}"
    return middle if min(every) == max(every) else f"{middle} ({min(every):.4g} to {max(every):.4g})"


def section(name: str, found: Mapping[str, Any]) -> str:
    """Give a benchmark's part of the page."""
    where = found["lines"][0]["environment"]
    versions = ", ".join(f"{key} {where[key]}" for key in ("python", "torch", "torchvision", "lightning", "timm"))
    git = f"revision {str(where['git'])[:10]}{' with changes' * bool(where['dirty'])}" if where["git"] else "installed"
    head = [
        f"## {name}",
        "",
        f"`{found['command']}`, {found['date']}, {len(found['lines'])} run{'s' * (len(found['lines']) > 1)}.",
        f"{where['cpu']}, {where['cores']} cores, {where['threads']} threads, GPU: {where['gpu'] or 'none'};",
        f"{versions}; {git}.",
        *([f"{found['note']}."] if found.get("note") else []),
        "",
        *NOTES.get(name, "").splitlines(),
        "| what | value |",
        "| --- | ---: |",
    ]
    return "\n".join([*head, *rows(found["lines"]), ""])


def page(kept: Mapping[str, Any]) -> str:
    """Give the whole page, benchmarks in the order of ``QUICK``, then other sections by name."""
    order = [*(name for name in QUICK if name in kept), *sorted(set(kept) - set(QUICK))]
    return "\n".join([TEXT, *(section(name, kept[name]) for name in order)])


def taken(folder: Path, note: str | None) -> dict[str, Any]:
    """Give the sections whose lines lie in a folder.

    Raises:
        SystemExit: there are none, or one has no command.
    """
    found: dict[str, Any] = {}
    for path in sorted(folder.glob("*.json")):
        words = path.with_suffix(".txt")
        if not words.is_file():
            raise SystemExit(f"{words} is not there: it holds the command of {path.name}")
        lines = [json.loads(path.read_text(encoding="utf-8").splitlines()[-1])]
        found[path.stem] = {"command": words.read_text(encoding="utf-8").strip(), "date": made_on(path), "lines": lines}
        if note:
            found[path.stem]["note"] = note
    if not found:
        raise SystemExit(f"{folder} has no NAME.json: run a benchmark and keep the line that it prints there")
    return found


def made_on(path: Path) -> str:
    return date.fromtimestamp(path.stat().st_mtime).isoformat()


def run(name: str, timeout: float) -> dict[str, Any] | None:
    """Run a benchmark; give the JSON of its last line, None (and say why) if there is none."""
    command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), *QUICK[name]]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=True)
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, ValueError, IndexError) as error:
        print(f"{name}: {error}\n{getattr(error, 'stderr', None) or ''}"[-2000:], file=sys.stderr, flush=True)
        return None
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(QUICK), default=list(QUICK))
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds of one run of one benchmark")
    parser.add_argument("--note", help="words that go with these lines, as in: beside other work")
    parser.add_argument("--take", type=Path, help="a folder with the lines of benchmarks that have run")
    args = parser.parse_args()
    kept = json.loads(LINES.read_text()) if LINES.is_file() else {}
    if args.take is not None:
        LINES.write_text(json.dumps(kept | taken(args.take, args.note), indent=1) + "\n")
        PAGE.write_text(page(json.loads(LINES.read_text())))
        return
    lines: dict[str, list[dict[str, Any]]] = {name: [] for name in args.only}
    failed = set()
    for turn in range(args.runs):
        for name in args.only:
            print(f"{name}, run {turn + 1} of {args.runs}", file=sys.stderr, flush=True)
            found = run(name, args.timeout)
            if found is None:
                failed.add(name)
            else:
                lines[name].append(found)
    for name, found_lines in lines.items():
        if found_lines and name not in failed:
            command = " ".join(["python", f"benchmarks/{name}.py", *QUICK[name]])
            kept[name] = {"command": command, "date": date.today().isoformat(), "lines": found_lines}
            if args.note:
                kept[name]["note"] = args.note
    LINES.write_text(json.dumps(kept, indent=1) + "\n")
    PAGE.write_text(page(kept))
    if failed:
        raise SystemExit(f"no line: {', '.join(sorted(failed))}")


if __name__ == "__main__":
    main()
