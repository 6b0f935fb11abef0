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
    "The *loss* is the number that training lowers. A student's counts its distance from its teacher's answers too, "
    "that of others only the one from the labels: so compare the courses of the losses, not their heights."
)
HESSIAN = Prose(
    "The *trace of the Hessian* is the sum of the curvatures of the loss in all directions of the weights: the larger, "
    "the sharper the minimum. The loss is the cross-entropy with the labels, without smoothing, on the images of the "
    "probe, and not what a student minimised. The trace grows with it, so compare networks of similar *loss* alone. "
    "The scale of the weights changes it too. *trace_scaled*, the mean curvature times the square of *weight_norm* "
    "(the length of all weights together), stays as it is if all weights are scaled; *trace_per_weight* does not."
)
CKA = Prose(
    "*CKA* (centred kernel alignment) says how alike two sets of features are for the same images, from 0 to 1, "
    "whatever their rotation and scale; here, those of two layers of one network."
)
TERMS: Mapping[str, Prose] = {"cues": CUES, "attention": ATTENTION, "hessian": HESSIAN, "cka": CKA}
