"""The ranges and choices of the arguments of probes and stress sets, as ``kdbias.config.ranges`` reads them."""

from __future__ import annotations

from kdbias.config.kinds import FLAG, Kind, above, at_least, one_of, whole, within

COUNT = whole(1)
BATCH = {"batch_size": COUNT}
READ = {"precision": one_of("fp32", "bf16")}
FROZEN = {"bank": COUNT.or_null("all"), "features": one_of("pooled", "tokens"), **READ}
CKA = {
    "tokens": one_of("mean", "cls", "flat"),
    "kernel": one_of("linear", "rbf"),
    "scale": above(0),
    "batch": whole(4),
    **READ,
}

PROBES: dict[str, dict[str, Kind]] = {
    "accuracy.AccuracyProbe": {"tta": FLAG, "flip": FLAG, "shift": whole(0), **READ},
    "adversarial.AdversarialProbe": {
        "epsilon": at_least(0),
        "steps": COUNT,
        "images": COUNT.or_null("all"),
        **BATCH,
    },
    "agreement.AgreementProbe": READ,
    "attention.AttentionProbe": {"collapse": at_least(0), **READ},
    "bias.BiasProbe": {**BATCH, **READ},
    "cka.CKAProbe": CKA,
    "cka.teacher_cka": CKA,
    "cues.CueProbe": {"images": COUNT, **BATCH, **READ},
    "feature_maps.FeatureMapsProbe": {"images": COUNT, "shown": COUNT, **BATCH, **READ},
    "frequency.FrequencyProbe": {
        "cutoffs": within(0, 1, "(]").each("parts of the Nyquist frequency"),
        "window": one_of("ideal", "gaussian"),
        **READ,
    },
    "gradcam.GradCAMProbe": {
        "images": COUNT,
        "shown": COUNT,
        "target": one_of("answer", "class"),
        **BATCH,
    },
    "gradcam_agreement.GradcamAgreementProbe": {"images": COUNT.or_null("all"), **BATCH},
    "hessian.HessianProbe": {
        "images": COUNT,
        "vectors": whole(2),
        "k": whole(0, hint="0 for no eigenvalues"),
        "tolerance": above(0),
        "density_steps": whole(0, hint="0 for no density"),
        "density_starts": COUNT,
        "method": one_of("exact", "finite_difference", "central_difference"),
        "chunk": COUNT.or_null("as many as fit"),
        "keep": FLAG,
    },
    "knn.KNNProbe": {"k": COUNT, "temperature": above(0), **FROZEN},
    "linear_probe.LinearProbe": {"l2": at_least(0), "iterations": COUNT, **FROZEN},
    "receptive_field.ReceptiveFieldProbe": {
        "images": COUNT,
        "share": within(0, 1, "()"),
        "draws": COUNT,
        **BATCH,
        **READ,
    },
    "shift.ShiftProbe": {
        "shifts": whole(0).each("shifts in pixels"),
        "padding": one_of("reflect", "circular"),
        **READ,
    },
    "shuffle.ShuffleProbe": {"grids": whole(1).each("patches to a side"), **READ},
}

STRESS: dict[str, dict[str, Kind]] = {
    "enlarged.Enlarged": {"size": COUNT},
    "grey.Grey": {"way": one_of("luminance", "permute")},
    "noise.Noise": {
        "window": COUNT.or_null("the whole image"),
        "sigma": above(0),
        "pattern": one_of("fixed", "per_image"),
        "place": one_of("centre", "random"),
    },
    "rotate.Rotate": {"grid": whole(2)},
    "scramble.Scramble": {"grid": whole(2)},
    "shape.Shape": {"sigma": above(0), "show": one_of("silhouette", "object", "background")},
    "smooth.Smooth": {
        "filter": one_of("bilateral", "gaussian"),
        "protocol": one_of("own", "burgert"),
        "diameter": whole(3),
        **dict.fromkeys(("colour_sigma", "space_sigma", "sigma"), above(0)),
    },
    "superpixel.Superpixel": {"segments": COUNT, "iterations": COUNT, "compactness": above(0)},
    "texture.Texture": {"donor": one_of("image", "class")},
}

MEASURED = {"probes": PROBES, "stress": STRESS}
