"""Mistakes in the words of a command: each is one line that says what was most likely meant."""

import doctest

import pytest

from kdbias.checks import words
from kdbias.checks.words import composition_problem, word_problems

MISTAKES = {  # one of each kind, and its neighbours
    "experiment=exp1_resnet_k": "experiment: there is no exp1_resnet_k: did you mean exp1_resnet_kl?",
    "experiment=vit_to_cnn/cpad": "experiment: there is no vit_to_cnn/cpad: did you mean vit_to_cnn/capd?",
    "model=resnet21": "model: there is no resnet21: did you mean resnet20?",
    "loss=[ce,kll]": "loss: there is no kll: did you mean kl?",
    "-m control=none,shufled": "control: there is no shufled: did you mean shuffled?",
    "logger=qqq": "logger: there is no qqq: choose csv, mlflow, tensorboard, wandb",
    "experiment=": "experiment: there is no option without a name: `--help` lists them",
    "epoch=3": "epoch: there is no such setting: did you mean epochs=3?",
    "+epoch=3": "epoch: there is no such setting: did you mean epochs=3?",
    "losss.kl.temperature=2": "losss: there is no such setting: did you mean loss.kl.temperature=2?",
    "modle=resnet20": "modle: there is no such setting: did you mean model=resnet20?",
    "seed=0,1": "seed=0,1: has several values: give -m as well for a sweep, or brackets, KEY=[A,B], for a list",
    "~trainr": "trainr: there is no such setting: did you mean trainer=VALUE?",
    "qqq=3": "qqq: there is no such setting: `python train.py --help` lists them",
    "exp1_resnet_kl": "exp1_resnet_kl: sets nothing: did you mean experiment=exp1_resnet_kl?",
    "resnet56": "resnet56: sets nothing: did you mean model=resnet56 or teacher=resnet56?",
    "exp1_resnet_k": "exp1_resnet_k: sets nothing: did you mean experiment=exp1_resnet_kl?",
    "epochs": "epochs: sets nothing: did you mean epochs=VALUE?",
    "%": "%: sets nothing: a setting is KEY=VALUE",
    "--experiment baseline": "--experiment: settings have no dashes: did you mean experiment=baseline?",
    "--batch-size=64": "--batch-size: settings have no dashes: did you mean batch_size=64?",
    "-e seed=1": "-e: settings have no dashes: did you mean e=VALUE?",
    "loss=[ce,kl": "loss=[ce,kl: cannot be read, a bracket is not closed: give it without blanks, or in quotes, as in "
    "'loss=[ce,kl]'",
    "loss=ce]": "loss=ce]: cannot be read, a bracket is not opened: give it without blanks, or in quotes, as in "
    "'loss=[ce]'",
    "loss=[ce, kl]": "loss=[ce, kl]: cannot be read, the shell split it at blanks: write loss=[ce,kl]",
    "name='mine": "name='mine: cannot be read, a quote is not closed: close it, as in name=\"'a text'\"",
    "name=a(b)c": "name=a(b)c: cannot be read: a value with special characters stands in quotes, as in "
    "\"name='a(b)c'\"",
}


@pytest.mark.parametrize("typed", MISTAKES)
def test_a_mistake_is_one_line_with_what_was_meant(typed):
    assert list(map(str, word_problems(typed.split(" "), "train"))) == [MISTAKES[typed]]


@pytest.mark.parametrize(
    "typed",
    [
        "experiment=cnn_to_vit/lm data.root=/x ~callback.ema",
        "-m experiment=baseline,exp1_kl seed=0,1,2",
        "--multirun loss=[ce],[ce,kl] optim/schedule=cyclic",
        "+sweep=family_accuracy",
        "experiment=null hydra.run.dir=here teacher=none",
        "--config-dir mine experiment=of_mine own=1",
        "hydra.searchpath=[file://mine] experiment=of_mine",
        "++loss.kl.weight=1 name='a (b)' preset=as_published",
        "--cfg job model=timm",
    ],
)
def test_a_command_without_mistakes_passes(typed):
    assert word_problems(typed.split(" ") if "'" not in typed else [typed.rpartition(" ")[2]], "train") == []


def test_groups_are_those_of_the_command():
    assert [str(one) for one in word_problems(["probe=[attn]"], "analyze")] == [
        "probe: there is no attn: did you mean attention?"
    ]
    assert word_problems(["experiment=baseline"], "analyze")


def test_a_key_below_the_root_is_compared_with_those_beside_it():
    keys = {"loss.kl.temperature": 4, "loss.kl.weight": 1, "epochs": 3}
    text = "Could not override 'loss.kl.{}'.\nTo append to your config use +x"
    assert str(composition_problem(text.format("temp"), keys)) == (
        "loss.kl.temp: there is no such setting: did you mean loss.kl.temperature?"
    )
    assert str(composition_problem(text.format("q"), keys)) == (
        "loss.kl.q: there is no such setting: loss.kl has temperature, weight"
    )
    assert composition_problem("something else", keys) is None


def test_the_examples_of_the_docstrings():
    assert doctest.testmod(words).failed == 0
