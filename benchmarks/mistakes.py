"""python benchmarks/mistakes.py: give every mistake of docs/mistakes.md again and write down what is answered.

The commands are those of the table; ``--add "train.py epochs=x"`` puts further ones at its end. Each is a process of
its own in a folder with a finished run, a damaged checkpoint, a text file, an empty folder and weights of a ResNet-20.
The seconds are those of the CPU, user and system, of the process and its children. It prints one JSON line. With a
network, or with packages that the rows say are missing, the answers of these rows differ.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple

HOME = Path(__file__).resolve().parents[1]
PAGE = HOME / "docs" / "mistakes.md"
ROW = re.compile(r"^\| `(?P<command>[^`]+)` \|")
HEAD = """# Mistakes and what is said of them

Each command was given in a folder that holds a finished run `done`, an empty folder `empty`, a file `text.txt`, a
damaged checkpoint `bad.ckpt` and the weights `resnet20_cifar10.safetensors`, without a network. A refused command ends
with status 1 and leaves no folder. Seconds are those of the user's CPU, of which loading torch and Lightning alone
takes 6. What shows in the words, in plain values, in paths and in the headers of files is told before that
(`kdbias/checks/command.py`); what takes networks comes after it. `python benchmarks/mistakes.py` gives all commands
again and writes this page.

Measured on {day}: {rows} commands, {early} of them answered within {soon} CPU seconds.

| command | message | CPU s | status |
| --- | --- | ---: | ---: |
"""
SOON = 3.0
WEIGHTS = """
from safetensors.torch import save_file
from kdbias.batch import DataInfo
from kdbias.models.resnet_cifar import resnet20
info = DataInfo(3, 32, 10, tuple("abcdefghij"), 9, (0.5,) * 3, (0.2,) * 3)
save_file(resnet20(info).network.state_dict(), "resnet20_cifar10.safetensors")
"""
LONGEST = 330  # characters of a message


class Answer(NamedTuple):
    """What a command said, in how many seconds of the CPU, its status, and what it left in the folder."""

    command: str
    message: str
    seconds: float
    status: int
    left: list[str]


def main() -> None:
    """Give all commands and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--add", action="append", default=[], help="a further command")
    parser.add_argument("--only", default="", help="a part of the commands to give; the page is not written")
    arguments = parser.parse_args()
    commands = [*known(PAGE.read_text(encoding="utf-8")), *arguments.add]
    with tempfile.TemporaryDirectory(prefix="mistakes-") as place:
        prepare(Path(place))
        answers = [given(command, Path(place)) for command in commands if arguments.only in command]
    if not arguments.only:
        PAGE.write_text(page(answers, date.today()), encoding="utf-8")
    late = [answer.command for answer in answers if answer.seconds > SOON]
    left = {answer.command: answer.left for answer in answers if answer.left}
    lines = {answer.command: answer.message for answer in answers if "Traceback" in answer.message}
    print(json.dumps({"commands": len(answers), "late": late, "left": left, "tracebacks": lines}))


def known(text: str) -> list[str]:
    """Give the commands of a page."""
    return [found["command"].replace("&#124;", "|") for line in text.splitlines() if (found := ROW.match(line))]


def page(answers: Sequence[Answer], day: date) -> str:
    """Give the page with these answers."""
    early = sum(answer.seconds <= SOON for answer in answers)
    head = HEAD.format(day=day.isoformat(), rows=len(answers), early=early, soon=f"{SOON:g}")
    return head + "".join(f"{line}\n" for line in rows(answers))


def rows(answers: Sequence[Answer]) -> Iterator[str]:
    """Give the lines of the table."""
    for one in answers:
        message = one.message if len(one.message) <= LONGEST else f"{one.message[:LONGEST].rstrip()} ..."
        cell = message.replace("&", "&amp;").replace("<", "&lt;").replace("|", "&#124;")
        command = one.command.replace("|", "&#124;")
        yield f"| `{command}` | {cell} | {one.seconds:.2f} | {one.status} |"


def prepare(place: Path) -> None:
    """Put into the folder what the commands name."""
    smoke = ["trainer=smoke", "callback=[checkpoint,progress]", "logger=[csv]"]
    words = ["experiment=demo_control", "data=cues", *smoke, f"hydra.run.dir={place / 'done'}"]
    subprocess.run([sys.executable, str(HOME / "train.py"), *words], env=environment(), check=True, capture_output=True)
    shutil.rmtree(place / "runs", ignore_errors=True)
    (place / "empty").mkdir()
    (place / "text.txt").write_text("no weights\n", encoding="utf-8")
    (place / "bad.ckpt").write_bytes(b"\x80\x02 no checkpoint" * 9)
    subprocess.run([sys.executable, "-c", WEIGHTS], cwd=place, env=environment(), check=True)


def environment() -> dict[str, str]:
    """Give the environment of a command: that of this process, with this checkout's package, and no folders of it."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("KDBIAS_")}
    return {**own, "PYTHONPATH": str(HOME), "COLUMNS": "200"}


def given(command: str, place: Path) -> Answer:
    """Give a command in the folder; what it leaves there is noted and removed."""
    words = shlex.split(command)
    settings = dict(word.split("=", 1) for word in words[: next(i for i, w in enumerate(words) if w.endswith(".py"))])
    rest = words[len(settings) :]
    before = set(place.iterdir())
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(
            [sys.executable, str(HOME / rest[0]), *rest[1:]],
            cwd=place,
            env={**environment(), **settings},
            stdout=said,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        text = said.read().decode(errors="replace").replace(str(place), ".")
    left = [path for path in place.iterdir() if path not in before]
    for path in left:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    message = "(help)" if "--help" in rest else " ".join(text.split())
    names = sorted(path.name for path in left)
    return Answer(command, message, usage.ru_utime + usage.ru_stime, child.returncode, names)


if __name__ == "__main__":
    main()
