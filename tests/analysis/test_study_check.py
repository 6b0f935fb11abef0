"""What a study's yaml may hold: each mistake is one line with its key, before anything is trained."""

import json
import re
from functools import reduce
from operator import getitem

import pytest
from toy_study import GAIN, NODE

from kdbias.analysis.claim_check import NEEDED
from kdbias.analysis.study_check import require_own_name, require_study
from kdbias.analysis.study_node import hypotheses
from kdbias.config.errors import ConfigError


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": []}, "study.seeds: must be a list of different seeds"),
        ({"seeds": [0, 0]}, "study.seeds: must be a list of different seeds"),
        ({"name": "../x"}, "study.name: must be the name of a folder"),
        ({"run": {}}, "study.run: nothing reads it"),
        ({"runs": {}}, "study.runs: must name the runs"),
        ({"runs": {"student": {"experiment": "nothing"}}}, "there is no experiment 'nothing'"),
        ({"runs": {**NODE["runs"], "x": {"experiment": "demo_kl", "seed": 1}}}, "study.runs.x: nothing reads seed"),
        (
            {"runs": {**NODE["runs"], "x": {"experiment": "demo_kl", "control": "y"}}},
            "must be one of the runs, got 'y'",
        ),
        ({"hypotheses": {"gain": {**GAIN, "of": "teacher"}}}, "hypotheses.gain.of: must be one of the runs"),
        ({"hypotheses": {"gain": {**GAIN, "of": ["student"] * 3}}}, "gain.of: must be one of the runs, or two"),
        ({"hypotheses": {"gain": {**GAIN, "than": ["student"]}}}, "gain.than: is ['student'] as well as of"),
        ({"hypotheses": {"gain": {**GAIN, "direction": "more"}}}, "direction: must be one of higher, lower, equal"),
        ({"hypotheses": {"gain": {**GAIN, "measure": "accuracy"}}}, "measure: must be PROBE/SCALAR"),
        ({"hypotheses": {"gain": {**GAIN, "measure": "bais/share"}}}, "there is no probe 'bais'"),
        (
            {"hypotheses": {"gain": {**GAIN, "sd": 0}}},
            "gain.sd: must be a number above 0",
        ),
        ({"hypotheses": {"gain": {**GAIN, "smallest": "much"}}}, "gain.smallest: must be a number above 0"),
        (
            {"hypotheses": {"gain": {**GAIN, "smallest": 1e-5}}},
            "gain.sd: with smallest: effect: more than 10,000",
        ),
        ({"hypotheses": {"gain": {**GAIN, "of": "control"}}}, "gain.than: is 'control' as well as of"),
        ({"hypotheses": {"gain": {**GAIN, "of": []}}}, "gain.of: must be one of the runs, or two of them"),
        ({"hypotheses": {"gain": {**GAIN, "measure": "cka/x[4-2]"}}}, "gain.measure: [4-2] has no layer"),
        ({"hypotheses": {"gain": {**GAIN, "measure": "val/x[1-2]@.5"}}}, "gain.measure: a part of the training"),
        ({"hypotheses": {"gain": {**GAIN, "measure": "val/accuracy"}}}, "say when, as in val/accuracy@1"),
        ({"hypotheses": {"gain": {**GAIN, "measure": "train/loss"}}}, "say when, as in train/loss@1"),
        (
            {"hypotheses": {"gain": {**GAIN, "measure": "test/accuracy@.5"}}},
            "gain.measure: test images are looked at once",
        ),
        ({"hypotheses": {"gain": {**GAIN, "matched": "test/loss"}}}, "gain.within: is missing"),
        ({"hypotheses": {"gain": {**GAIN, "within": 0.1}}}, "gain.matched: is missing"),
        ({"common": [{"epochs": 12}]}, "study.common[0]: must be an override in one text"),
        ({"common": ["epoch=12"]}, "study.common[0]: epoch: there is no such setting: did you mean epochs=12"),
        ({"overrides": ["epochs=1,2"]}, "study.overrides[0]: epochs=1,2: has several values"),
        ({"overrides": ["seed=3"]}, "study.overrides[0]: seed=3: a study decides this for each run"),
        ({"overrides": ["loss=[ce"]}, "study.overrides[0]: loss=[ce: cannot be read"),
        ({"probes": {"ca": {}}}, "study.probes.ca: there is no probe 'ca'"),
        ({"probes": {"cues": {"image": 5}}}, "study.probes.cues.image: there is no such setting: did you mean images"),
        ({"probes": {"cues": {"images": 0}}}, "study.probes.cues.images: must be a whole number of at least 1"),
        ({"runs": {1: {"experiment": "demo_kl"}}}, "study.runs.1: the name of a group must be a text, got 1"),
        ({"cnn_weights": None}, "study.cnn_weights: must be a file, got None"),
        ({"my_net_weights": 3}, "study.my_net_weights: must be a file, got 3"),
        ({"cn_weights": "lite0.safetensors"}, "study.cn_weights: nothing reads it"),
        ({"_weights": "x"}, "study._weights: nothing reads it"),
        ({"weight": "x"}, "study.weight: nothing reads it"),
        ({"hypotheses": {"gain": {**GAIN, "seeds": 99}}}, "the planner gives 4 for these numbers, got 99"),
        ({"hypotheses": {"gain": {**GAIN, "size": 1}}}, "gain.size: nothing reads it"),
        ({"hypotheses": {"gain": {"says": "It gains."}}}, "hypotheses.gain: must say says, measure"),
    ],
)
def test_a_mistake_in_a_study_is_named(change, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        require_study({**NODE, **change})


WHOLE = {
    **NODE,
    "about": "Who is compared.",
    "common": ["trainer=cpu"],
    "overrides": ["epochs=2"],
    "runs": {
        **NODE["runs"],
        "student": {"experiment": "demo_kl", "overrides": ["model.depth=2"], "control": "control"},
    },
    "hypotheses": {"gain": {**GAIN, "times": 0.99, "seeds": 4, "matched": "test/loss", "within": 0.1}},
    "images": 100,
    "probes": {"cues": {"images": 100}},
    "lanes": 2,
}
STRANGE = (5, -1, True, 1.5, float("nan"), "", "x", [], [5], ["x"], {}, {"x": 1}, None)
ALSO = {  # strange values that a key may have, by its name or the last two of its place
    "name": ["x"],
    "question": ["", "x", None],
    "about": ["", "x", None],
    "seeds": [[5]],
    **{key: [[], None] for key in ("common", "overrides")},
    **{key: [5, None] for key in ("lanes", "images")},
    **{key: [None] for key in ("control", "gain.seeds")},
    **{key: [{}, None] for key in ("probes", "hypotheses", "probes.cues")},
    "cues.images": [5],
    "says": ["x"],
    "times": [5, -1, 1.5, None],
    "smallest": [5, 1.5],
    "sd": [1.5],
    "within": [5, 1.5],
}


def refusal(node):
    """What is said of a study; empty if nothing is wrong with it."""
    try:
        require_study(node)
    except ConfigError as error:
        return str(error)
    return ""


def test_every_key_of_a_study_with_another_kind_of_value_is_named():
    require_study(WHOLE)
    places = [(key,) for key in WHOLE]
    places += [("runs", "student"), *(("runs", "student", key) for key in WHOLE["runs"]["student"])]
    places += [("probes", "cues"), ("probes", "cues", "images"), ("hypotheses", "gain")]
    places += [("hypotheses", "gain", key) for key in WHOLE["hypotheses"]["gain"]]
    for place in places:
        allowed = ALSO.get(".".join(place[-2:]), ALSO.get(place[-1], []))
        for value in STRANGE:
            node = json.loads(json.dumps(WHOLE))
            *above, last = place
            reduce(getitem, above, node)[last] = value
            if any(value is one or (value == one and type(value) is type(one)) for one in allowed):
                if node["hypotheses"]:
                    node["hypotheses"]["gain"]["seeds"] = None  # other numbers may need another one
                require_study(node)
                hypotheses(node)
                continue
            said = refusal(node)
            missing = f"study.hypotheses.gain: must say {', '.join(NEEDED)}; {last} is missing"
            assert f"study.{'.'.join(place)}" in said or (value is None and said == missing), (place, value, said)


def test_a_copied_yaml_must_have_a_name_of_its_own():
    with pytest.raises(ConfigError, match=r"study\.name: must be mine, as its yaml is called, got toy"):
        require_own_name(NODE, "mine")
    require_own_name(NODE, "toy.yaml")
    require_own_name(NODE)  # of no command
