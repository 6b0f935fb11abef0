"""What the terms on a page mean, by probe, for a reader who meets them for the first time."""

from __future__ import annotations

from collections.abc import Mapping

from kdbias.report.page import Prose

CUES = Prose(
    "The *shape share* is the number of decisions for the shape, divided by those for either cue, where shape and "
    "texture are of different classes. The *transfer index* says how far the student's share has moved from the "
    "control's (0) to the teacher's (1). A *95 % interval* over images says how far a number may be off with other "
    "images of this kind; an interval over seeds says so of other trainings. A *seed* is the number from which a "
    "training draws its first weights and the order of its images."
)
ATTENTION = Prose(
    "A vision transformer cuts the image into *patches*, small squares. In each layer, *attention* decides from which "
    "other patches a patch takes its information. The *attention distance* is how far away these are on average, "
    "counted in patches; *uniform attention*, which takes the same from everywhere, is the line to compare with."
)
TRAINING = Prose(
    "An *epoch* is one pass over the training images. *Validation accuracy* is that on images kept out of training. "
    "The *loss* is the number that training lowers. That of a student is its distance from its teacher's answers, "
    "that of others from the labels: so compare the courses of the losses, not their heights."
)
TERMS: Mapping[str, Prose] = {"cues": CUES, "attention": ATTENTION}
