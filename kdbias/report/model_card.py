"""The model card of an exported network: what it is, how it was made, how accurate it is, how it is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kdbias.files import printable

UNKNOWN = "not known"
NO_LICENCE = (
    "**not stated**: whoever exports the weights chooses it (`licence=...`); until then assume that they may not be "
    "used or passed on"
)
USE = {
    "safetensors": """import kdbias

network = kdbias.load_student("THIS_FOLDER")
logits = network(images).logits  # images: (n, {channels}, {size}, {size}), values in [0, 1]""",
    "onnx": """import onnxruntime

session = onnxruntime.InferenceSession("network.onnx")
(logits,) = session.run(["logits"], {{"image": images}})  # (n, {channels}, {size}, {size}) float32 in [0, 1]""",
    "timm": """import json

import timm
from safetensors.torch import load_file

config = json.load(open("config.json"))
network = timm.create_model(config["architecture"], **config["model_args"])
network.load_state_dict(load_file("model.safetensors"))
logits = network.eval()(images)  # resized and normalised by input_size, mean and std of config["pretrained_cfg"]""",
}
"""How a folder of each format is loaded."""


def model_card(facts: Mapping[str, Any], form: str, gap: float, images: int) -> str:
    """Write the card as Markdown.

    Args:
        facts: A description in the format of ``kdbias.zoo``.
        form: The format that the folder has.
        gap: Largest difference of the logits between the run's network and what was loaded back.
        images: Number of images on which they were compared.
    """
    data = facts["spec"]["data"]
    use = USE[form].format(channels=data["channels"], size=data["size"])
    rows = [f"| {_cell(name)} | {_cell(value)} |" for name, value in _rows(facts, form, gap, images)]
    lines = [f"# {_cell(facts['name'])}", "", "```python", use, "```", "", "| | |", "| --- | --- |", *rows, ""]
    return "\n".join(lines)


def _rows(facts: Mapping[str, Any], form: str, gap: float, images: int) -> Iterator[tuple[str, str]]:
    data, made = facts["spec"]["data"], facts.get("made") or {}
    builder = str(facts["spec"]["model"].get("_target_")).rpartition(".")[2]
    builder += f" ({facts['spec']['model']['name']})" if "name" in facts["spec"]["model"] else ""
    yield "Network", f"{builder}, {facts['parameters']:,} parameters"
    yield "Data", f"{facts.get('images') or UNKNOWN}: {data['train']:,} training images"
    values = "normalised by mean and std, as above" if form == "timm" else "values in [0, 1]"
    yield "Input", f"{data['channels']} × {data['size']} × {data['size']}, {values}"
    yield "Classes", f"{data['classes']}: {'; '.join(data['names'][:20])}{'; ...' * (len(data['names']) > 20)}"
    yield "Recipe", _recipe(facts)
    yield "Accuracy", accuracy_text(facts.get("accuracy"))
    yield "Teacher", str(facts.get("teacher") or "none")
    yield "Control", control_text(facts)
    yield "Command", f"`{made['command']}`" if made.get("command") else UNKNOWN
    changed = ", with changes that were not committed" if made.get("changed") else ""
    yield "Revision of kdbias", f"{made.get('revision') or UNKNOWN}{changed}; torch {made.get('torch') or UNKNOWN}"
    yield "Licence of the weights", str(facts.get("licence") or NO_LICENCE)
    how = f"differ by at most {gap:.2g} from" if gap else "are bit for bit"
    yield "Checked", f"{form}, loaded back: the logits of {images} images {how} the run's"


def accuracy_text(found: Mapping[str, Any] | None) -> str:
    """Write an accuracy with its 95 % interval over images.

    >>> accuracy_text({"test": 0.9, "low": 0.85, "high": 0.95, "images": 100})
    '90.0 % [85.0, 95.0] of 100 test images (95 % interval over images, one seed)'
    """
    if found is None:
        return f"{UNKNOWN}: these weights were not tested"
    low, high = 100 * found["low"], 100 * found["high"]
    share = f"{100 * found['test']:.1f} % [{low:.1f}, {high:.1f}]"
    return f"{share} of {found['images']:,} test images (95 % interval over images, one seed)"


def control_text(facts: Mapping[str, Any]) -> str:
    """Say what a control took from the teacher, or how accurate the student is without one."""
    if facts.get("control"):
        return f"trained under control={facts['control']}"
    if not facts.get("teacher"):
        return "it is trained without a teacher itself"
    if facts.get("control_run"):
        return f"the same student without a teacher: {accuracy_text(facts['control_run'])}"
    return "none beside it (`control_run=...`); the teacher was used in full"


def _recipe(facts: Mapping[str, Any]) -> str:
    spec, made = facts["spec"], facts.get("made") or {}
    loss = spec.get("loss") if isinstance(spec.get("loss"), Mapping) else {}
    terms = [name for name, node in (loss or {}).items() if isinstance(node, Mapping) and "_target_" in node]
    parts = [f"experiment {made['experiment']}" if made.get("experiment") else ""]
    parts += [f"loss {' + '.join(terms)}" if terms else "", f"seed {made['seed']}" if "seed" in made else ""]
    parts += [f"{made['epochs']} epoch{'s' * (made['epochs'] != 1)}" if made.get("epochs") else ""]
    return ", ".join([*filter(None, parts), f"the weights of epoch {facts['epoch'] + 1}"])


def _cell(value: object) -> str:
    """A text as one cell of a table: a line, without what would end the cell or steer a terminal."""
    text = printable(" ".join(str(value).split())).replace("|", "\\|")
    return text if text.startswith("`") else text.replace("<", "&lt;")
