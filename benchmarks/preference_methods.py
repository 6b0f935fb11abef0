"""The rows of ``preference.py``: what each trains with, and what all of them share."""

from __future__ import annotations

OWN_VIEWS = ("sskd",)  # methods that crop and mirror the images themselves
COMMON = ["trainer=cpu", "trainer.precision=32-true", "callback=[checkpoint]", "logger=[csv]"]
IMAGES = ["data=cues", "data.preset=demo", "data.val=500", "data.test=4000"]
AUGMENT = ["augment=light", "augment.crop=2"]
LABELS = "loss.ce.label_smoothing=0"
ALONE = ["loss=[kl]", "loss.alpha=1.0", "loss.kl.temperature=1.0"]

METHODS: dict[str, list[str]] = {
    "kl_alone": ALONE,
    "kl": ["loss=[ce,kl]"],
    "hard_kl": ["loss=[ce,hard_kl]"],
    "dkd": ["loss=[ce,dkd]"],
    "dist": ["loss=[ce,dist]"],
    "ofa": ["loss=[ce,ofa]"],
    "rsd": ["loss=[ce,rsd]"],
    "rkd": ["loss=[ce,rkd]"],
    "at": ["loss=[ce,at]"],
    "token": ["loss=[ce,token]"],
    "cka": ["loss=[ce,cka]"],
    "relation": ["loss=[ce,relation]"],
    "gram": ["loss=[ce,gram]"],
    "locality": ["loss=[ce,locality]"],
    "exp3": ["loss=[ce,token,cka,relation]"],
    "crd": ["loss=[ce,crd]", "loss.crd.negatives=2048"],
    "c2vkd": ["loss=[ce,c2vkd]"],
    "no_teacher_dist": ["loss=[ce]", "loss.ce.dist=true", "model.distilled=true"],
    "cskd": ["loss=[ce,cskd]", "model.distilled=true", "model.inference=dense"],
    "sskd": ["method=sskd", "loss=[]", "module.views.crop=2", "module.head.epochs=10"],
    "capd": ["method=capd", "loss=[]", "module.label_smoothing=0"],
    "self": [*ALONE, "control=self"],
    "random": [*ALONE, "control=random"],
    "label_smoothing": [*ALONE, "control=label_smoothing"],
    "shuffled": [*ALONE, "control=shuffled"],
    "random_labels": ["loss=[ce,kl]", "loss.kl.temperature=1.0", "control=random"],
    "teacher_view_scramble": [*ALONE, "augment.teacher_stress=scramble"],
    "teacher_view_scramble_labels": ["loss=[ce,kl]", "augment.teacher_stress=scramble"],
    "student_view_smooth": [*ALONE, "augment.student_stress=smooth"],
}
"""What each row trains with; ``self`` to ``random_labels`` are under a control.

The last three have a cue suppressed in one view. ``teacher_view_scramble``: the teacher, which goes by
shape, answers on images whose cells have changed places; an index as high as that of ``kl_alone`` would mean that the
preference needs no image that shows the shape. Such a teacher may know nothing to teach, so the row with ``_labels``
has labels beside it, as ``kl`` has. ``student_view_smooth``: the student sees little texture, and has to
explain by the rest what the teacher answers on the whole image.
"""

ONLY = {"cskd": "vit", "no_teacher_dist": "vit", "capd": "cnn"}
"""Rows of one kind of student: CSKD trains a DIST token, CAPD a convolutional map."""

STUDENTS: dict[str, list[str]] = {
    "cnn": ["model=small_cnn", "optim.optimizer.lr=5e-3"],
    "vit": [
        *("model=vit", "model.conv_stem=deep", "model.layers=[1,3,5]"),
        *("optim.optimizer.lr=1.5e-3", "optim.optimizer.betas=[0.9,0.98]"),
    ],
}

VIT_TEACHER = [
    *("teacher=vit_small_cifar", "teacher.model.width=64", "teacher.model.depth=6", "teacher.model.heads=4"),
    *("teacher.model.mlp_ratio=2.0", "teacher.model.drop_path=0.0", "teacher.model.conv_stem=deep"),
]

# Gram matrices of the CNN's first stage, of 1,024 places, take ten times the rest of a step: its two deeper stages.
DEEPER = {("cnn", "gram"): ["model.layers=[1,2]", "teacher.layers=[1,2]"]}
