"""``python analyze.py task=build_stress data=cifar10 'stress=[texture,noise]'``: stress sets made once and kept."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.progress import Progress, TaskID

from kdbias.analysis.stress_configs import cache, loaded, selected, source_of, strengths
from kdbias.config.spec import Tree
from kdbias.runs.bars import Lines, bars, in_terminal
from kdbias.runs.clock import Pace, Pulse, rounded


def build_stress(tree: Tree) -> None:
    """Build each set at each strength, on all cores; the folder of the sets is printed last.

    Raises:
        ConfigError: no data set or no stress set is named, or a set refuses the images.
    """
    source = source_of(tree)
    sets, levels = selected(tree, source), strengths(tree)
    lines, terminal = Lines(), in_terminal()
    with bars(disable=not terminal) as shown:
        for name, stress in sets.items():
            for strength in levels:
                began, bar = time.monotonic(), shown.add_task(f"{name} {strength:g}", total=None)
                moved = _moved(shown, bar) if terminal else _said(f"{name}, strength {strength:g}", lines)
                made = loaded(tree, source, name, stress, strength, moved)
                shown.update(bar, completed=len(made.target), total=len(made.target))
                if not terminal:
                    seconds = time.monotonic() - began
                    lines.timed(f"{name}, strength {strength:g}: {len(made.target)} images in {seconds:.1f} s")
    print(cache(tree))


def _said(what: str, lines: Lines) -> Callable[[int, int], None]:
    """Say every half minute how many images are done, and how long the others take."""
    pulse, pace = Pulse(lines.timed), Pace(0)

    def say(done: int, of: int) -> None:
        pace.total = of
        left = pace.left(done)
        pulse.beat(lambda: f"{what}: {done:,}/{of:,} images" + (f", {rounded(left)} left" if left else ""))

    return say


def _moved(shown: Progress, bar: TaskID) -> Callable[[int, int], None]:
    return lambda done, of: shown.update(bar, completed=done, total=of)
