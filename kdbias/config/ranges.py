"""The ranges and choices of the arguments of builders that are the same in every run.

``kdbias.config.build.builder`` refuses a value out of this table whenever the builder is called, and the commands check
a config against it before torch is loaded. A range that depends on other settings, on data or on a network is checked
where these are known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kdbias.config.kinds import FLAG, Kind, Rule, above, ascending, at_least, one_of, whole, within
from kdbias.config.ranges_measured import MEASURED

OFF = "0 switches it off"
COUNT, SIZE, PART = whole(1), whole(1), within(0, 1)
FEATURES = one_of("pooled", "tokens")
REDUCTION = one_of("batchmean", "numel")
PAIRED = {"by": one_of("depth", "index"), "allow_misaligned": FLAG}
EVERY = whole(1)
RATIO = within(0, 1, hint="it is the share of wrong rows to keep")
SPLIT = {"download": FLAG, "limit": COUNT.or_null("all training images")}
AVERAGED = {
    "begin": within(0, 1, "[)"),
    "bn_batches": whole(0, hint="0 averages the statistics like weights"),
}
MONITORED = {"mode": one_of("min", "max", hint="use max if a higher metric is better, else min")}
C2VKD = {
    "global_weight": at_least(0),
    "patch_weight": at_least(0),
    "decoupled_weight": at_least(0),
    "patch": one_of("relation", "feature"),
    "over": one_of("image", "batch"),
    "reduction": REDUCTION,
    "temperature": above(0),
    "gather": FLAG,
    **PAIRED,
}

LOSSES: dict[str, dict[str, Kind]] = {
    "at.AT": {"power": at_least(1, hint="below 1 the gradient of features that are 0 is not a number"), **PAIRED},
    "c2vkd.C2VKD": C2VKD,
    "ce.CE": {"label_smoothing": within(0, 1, "[)"), "dist": FLAG},
    "cka.CKA": {
        "axis": one_of("token", "sample"),
        "kernel": one_of("linear", "rbf"),
        "scale": above(0),
        "estimator": one_of("biased", "debiased"),
        "cls_only": FLAG,
        "normalize": FLAG,
        "gather": FLAG,
        **PAIRED,
    },
    "crd.CRD": {
        "negatives": COUNT,
        "temperature": at_least(0.0113, hint="below it exp(1 / temperature) overflows in fp32"),
        "momentum": within(0, 1, "[)"),
        "dim": SIZE,
        "positive": one_of("exact", "relax"),
        "z_momentum": within(0, 1, "[)").or_null(),
    },
    "cskd.CSKD": {
        "dense": above(0, hint="without it, use the term hard_kl"),
        "targets": one_of("hard", "soft"),
        "temperature": above(0),
        "schedule": one_of("linear", "square", "cosine"),
        "allow_misaligned": FLAG,
    },
    "dist.DIST": {"beta": at_least(0), "gamma": at_least(0), "temperature": above(0), "gather": FLAG},
    "dkd.DKD": {"temperature": above(0)},
    "gram.Gram": {"as_published": FLAG, **PAIRED},
    "kl.KL": {"temperature": above(0), "reduction": REDUCTION, "standardize": FLAG},
    "locality.Locality": PAIRED,
    "ofa.OFA": {
        "gamma": above(0).or_each("numbers"),
        "temperature": above(0),
        "logits": at_least(0),
        "stages": at_least(0),
    },
    "relation.Relation": {
        "temperature": above(0),
        "over": one_of("batch", "tokens"),
        "diagonal": FLAG,
        "gather": FLAG,
        **PAIRED,
    },
    "rkd.RKD": {"distance": at_least(0), "angle": at_least(0), "squared": FLAG, "gather": FLAG},
    "rsd.RSD": {"kappa": at_least(0), "expansion": COUNT, "gather": FLAG},
    "token.Token": {
        "distance": one_of("cosine", "mse"),
        "projection": one_of("linear", "mlp", "none"),
        "two_sided": FLAG,
        **PAIRED,
    },
}

CALLBACKS: dict[str, dict[str, Kind]] = {
    "averaging.EMA": {"decay": within(0, 1, "()"), **AVERAGED},
    "averaging.SWA": AVERAGED,
    "checkpoint.best": MONITORED,
    "checkpoint.last": {"every": EVERY},
    "checkpoint.early_stopping": {"patience": whole(1), **MONITORED},
    "history.History": {"every": EVERY},
    "knn.FrozenFeatures": {
        "every": EVERY,
        "linear_every": EVERY.or_null("no linear probe"),
        "images": COUNT.or_null("all"),
        "bank": COUNT.or_null("all"),
        "k": COUNT,
        "temperature": above(0),
        "features": FEATURES,
        "linear": whole(0, hint="0 leaves the probe out").or_null("all"),
    },
    "probe.ProbeCallback": {"every": EVERY, "images": COUNT, "initial": FLAG},
    "progress.progress": {"style": one_of("auto", "bar", "lines")},
}

CONTROLS: dict[str, dict[str, Kind]] = {
    "accuracy_matched.AccuracyMatched": {
        "among": one_of("training", "graded"),
        "every": EVERY,
        "tolerance": above(0),
    },
    "label_smoothing.LabelSmoothing": {"images": COUNT, "temperature": above(0).or_null("that of the terms")},
    "same_family.SameFamily": {key: COUNT.or_null("as in its recipe") for key in ("epochs", "batch_size")},
    "random.Random": {"images": whole(2, hint="BatchNorm's statistics need two")},
}

DATA: dict[str, dict[str, Kind]] = {
    "augment.Augment": {
        "crop": whole(0, hint=OFF),
        "flip": FLAG,
        "rotate": at_least(0, hint=OFF),
        "translate": PART,
        "policy": one_of("none", "cifar10", "imagenet", "svhn", "randaugment", "trivialaugment"),
        "operations": whole(1, hint="augment.policy=none is off"),
        "magnitude": whole(0, 30),
        "cutout": whole(0, hint=OFF),
        "erasing": PART,
        "mixup": at_least(0, hint=OFF),
        "cutmix": at_least(0, hint=OFF),
        "mix_probability": PART,
        "view": one_of("same", "photometric", "clean"),
    },
    "cifar.cifar10": SPLIT,
    "cifar.cifar100": SPLIT,
    "cues.cues": {
        "train": whole(1),
        "test": whole(1),
        "preset": one_of("balanced", "demo"),
        "shape_reliability": PART.or_null("the preset's"),
        "texture_reliability": PART.or_null("the preset's"),
        "size": SIZE,
    },
    "image_folder.image_folder": {"size": SIZE, "limit": SPLIT["limit"]},
    "mnist.mnist": {"size": one_of(28, 32, hint="28 without padding, or 32, padded with black"), **SPLIT},
    "mnist.fashion_mnist": {"size": one_of(28, 32, hint="28 without padding, or 32, padded with black"), **SPLIT},
    "resident.Resident": {"repeats": COUNT, "prefetch": FLAG},
    "workers.Workers": {
        "repeats": COUNT,
        "num_workers": whole(0, hint="0 for no process"),
        "prefetch_factor": COUNT,
        "start": one_of("fork", "spawn", "forkserver").or_null("the system's"),
    },
    "rotations.Rotations": {"crop": whole(0, hint=OFF), "flip": FLAG},
    "ssl_views.TwoViews": {
        "crop": ascending(0, 1),
        "aspect": ascending(0),
        "flip": FLAG,
        "rotate": at_least(0, hint=OFF),
        **dict.fromkeys(("jitter", "brightness", "contrast", "saturation", "grey", "invert"), PART),
        "hue": within(0, 0.5),
        "size": SIZE.or_null("that of the data"),
    },
}

ANSWERS = one_of("mean", "cls", "dist", "dense")
DROP_PATH = {"drop_path": within(0, 1, "[)")}
DEIT = {"distilled": FLAG, "inference": ANSWERS, **DROP_PATH}
MODELS: dict[str, dict[str, Kind]] = {
    "adaptive_cnn.adaptive_cnn": {"dropout": within(0, 1, "[)")},
    "adaptive_cnn.adaptive_cnn_mnist": {"dropout": within(0, 1, "[)")},
    "convnext.convnextv2_tiny": DROP_PATH,
    "deit.deit_tiny": DEIT,
    "deit.deit_tiny_hybrid": {"class_token_dropout": within(0, 1, "[)"), **DEIT},
    "deit.vit_tiny": DROP_PATH,
    "deit.vit": {
        **dict.fromkeys(("width", "depth", "heads", "patch"), SIZE),
        "mlp_ratio": above(0),
        "conv_stem": one_of(True, False, "deep"),
        "class_token_dropout": within(0, 1, "[)"),
        "size": SIZE.or_null("that of the data"),
        **DEIT,
    },
    "timm_network.timm_network": {
        "size": SIZE.or_null("that of the data"),
        "frozen": FLAG,
        "inference": ANSWERS,
        **DROP_PATH,
    },
}

MODULES: dict[str, dict[str, Kind]] = {
    "capd.CAPD": {
        "label_smoothing": within(0, 1, "[)"),
        "projector": one_of("conv", "linear"),
        "partial": FLAG,
        "matched": one_of("attention", "logits"),
        "group": whole(1),
        "dropout": within(0, 1, "[)"),
        "adversary": one_of("mlp", "patchgan", "none"),
        "adversary_hidden": SIZE,
        "adversary_lr": above(0, hint="adversary=none leaves the adversary out"),
    },
    "linear_head.LinearHead": {"l2": at_least(0)},
    "optim.adamw": {"lr": at_least(0), "weight_decay": at_least(0), "eps": at_least(0)},
    "optim.sgd": {"lr": at_least(0), "weight_decay": at_least(0), "momentum": at_least(0), "nesterov": FLAG},
    "schedules.warmup_cosine": {"warmup": PART, "final_lr": at_least(0)},
    "schedules.warmup_step": {"warmup": PART, "milestones": PART.each("parts of training")},
    "schedules.cyclic": {"cycles": COUNT, "low_lr": at_least(0)},
    "schedules.plateau": {
        "mode": one_of("min", "max"),
        "factor": within(0, 1, "[)"),
        "patience": whole(0),
        "min_lr": at_least(0),
    },
    "sskd.SSKD": {"ratio_tf": RATIO, "ratio_ss": RATIO, "gather": FLAG},
    "ssl_dino.DINO": {
        "features": FEATURES,
        **dict.fromkeys(("temperature", "teacher_temperature", "teacher_temperature_start"), above(0)),
        **dict.fromkeys(("teacher_temperature_until", "momentum", "center_momentum", "freeze_last"), PART),
        "hidden": SIZE,
        "bottleneck": SIZE,
        "prototypes": whole(2),
    },
    "ssl_simclr.SimCLR": {"features": FEATURES, "temperature": above(0), "hidden": SIZE, "dim": SIZE, "gather": FLAG},
    "ssl_watch.CollapseWatch": {
        **dict.fromkeys(("begin", "patience", "std", "entropy"), PART),
        "rank": at_least(0, hint=OFF),
    },
}

ROOMS = {
    "losses": LOSSES,
    "callbacks": CALLBACKS,
    "controls": CONTROLS,
    "data": DATA,
    "models": MODELS,
    "modules": MODULES,
    **MEASURED,
}
RANGES: dict[str, Mapping[str, Kind]] = {
    f"kdbias.{room}.{name}": kinds for room, named in ROOMS.items() for name, kinds in named.items()
}
"""Maps the full name of a builder to the kinds of its arguments."""

TOGETHER: dict[str, Rule] = {
    "kdbias.data.cues.cues": Rule(
        ("val", "train"), lambda val, train: 0 <= val < train, "must be at least 0 and below data.train"
    ),
    "kdbias.losses.dist.DIST": Rule(
        ("beta", "gamma"), lambda beta, gamma: beta + gamma > 0, "must be above 0 where gamma is 0"
    ),
    "kdbias.losses.ofa.OFA": Rule(
        ("logits", "stages"), lambda logits, stages: logits + stages > 0, "must be above 0 where stages is 0"
    ),
}
"""Maps the full name of a builder to what several of its arguments must be together."""


def refusals(name: object, given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Give the arguments of the builder ``name`` that are out of range, each with what it must be.

    >>> list(refusals("kdbias.losses.kl.KL", {"temperature": 0, "weight": 1}))
    [('temperature', 'must be above 0, got 0')]
    """
    kinds = RANGES.get(name, {}) if isinstance(name, str) else {}
    found = {key: kind.refusal(given[key]) for key, kind in kinds.items() if key in given}
    yield from ((key, reason) for key, reason in found.items() if reason)
    rule = TOGETHER.get(name) if isinstance(name, str) else None
    if rule is not None and all(key in given and not found.get(key) for key in rule.arguments):
        values = [given[key] for key in rule.arguments]
        if all(type(value) in (int, float) for value in values) and not rule.holds(*values):
            got = ", ".join(f"{key}={value!r}" for key, value in zip(rule.arguments, values, strict=True))
            yield rule.arguments[0], f"{rule.rule}, got {got}"
