"""What the demo's page says: its main number, what was found, and the terms."""

from __future__ import annotations

from kdbias.report.demo_results import DemoResults, attended, mean
from kdbias.report.page import Number, Prose
from kdbias.report.table import format_difference
from kdbias.report.verdict import Finding, cost, inherited
from kdbias.stats import difference

QUESTION = Prose(
    "A *cue-conflict image* has the shape of one class and the texture of another, so the answer shows which of the "
    "two a network goes by. Here the *teacher*, a CNN that goes by shape, trains the *student*, a vision transformer. "
    "The *control* is the same transformer, trained on labels without a teacher."
)
CUES = Prose(
    "The *shape share* is the number of decisions for the shape, divided by those for either cue. The *transfer index* "
    "is the main number as a fraction: how far the student's share has moved from the control's (0) to the teacher's "
    "(1). A *95 % interval* over images says how far a number may be off with other images of this kind; an interval "
    "over seeds would say so of other trainings. A *seed* is the number from which a training draws its first weights "
    "and the order of its images."
)
ATTENTION = Prose(
    "A vision transformer cuts the image into *patches*, small squares. In each layer, *attention* decides from which "
    "other patches a patch takes its information. The *attention distance* is how far away these are on average, "
    "counted in patches; *uniform attention*, which takes the same from everywhere, is the line to compare with."
)
TRAINING = Prose(
    "An *epoch* is one pass over the training images. *Validation accuracy* is that on images kept out of training. "
    "The *loss* is the number that training lowers: the student's is its divergence (KL) from the teacher's answer, "
    "the others' is cross-entropy with the labels. So compare the courses of the losses, not their heights."
)


def headline(measured: DemoResults) -> Number:
    """Give the main number, and the sentence that says of what."""
    found, scale = measured.index, "counted from the control (0 %) to the teacher (100 %)"
    value = f"{100 * found.value:.0f} %".replace("-", "\N{MINUS SIGN}")
    match found.shown:
        case "refused":
            return Number("no number", f"Whether a preference was inherited cannot be said: {found.reason}.")
        case "nothing":
            return Number(
                "open", f"No difference shown between student and control ({value} of the preference, {scale})."
            )
        case _ if found.value < 0:
            return Number(
                value, f"The student moved away from its teacher's preference for shape, {scale}. {_span(found)}"
            )
        case _:
            return Number(
                value, f"of its teacher's preference for shape came over to the student, {scale}. {_span(found)}"
            )


def _span(found: Finding) -> str:
    """Say between which percentages the main number lies, over other trainings or, without these, over other images."""
    over = [found.seeds] if found.shown == "recipe" else [each for each in found.images if not each.refused]
    low, high = 100 * min(each.low for each in over), 100 * max(each.high for each in over)
    what = "other trainings" if found.shown == "recipe" else "other images"
    return f"With {what} of this kind it would lie between {low:.0f} and {high:.0f} %.".replace("-", "\N{MINUS SIGN}")


def lead(measured: DemoResults) -> str:
    """Say in two or three sentences how much was inherited and what it cost in accuracy."""
    shares, accuracies = measured.shares, measured.means(lambda network: network.test.scalars["accuracy"])
    first = inherited(measured.index, (shares["student"], shares["control"], shares["teacher"]))
    return f"{first} {cost(measured.gain('test'), (accuracies['student'], accuracies['control']))}"


def attention_sentence(measured: DemoResults) -> str:
    """Compare the mean attention distance of student, control, untrained network and uniform attention."""
    runs = {"student": attended(measured.student), "control": attended(measured.control)}
    found = {name: [run.scalars["distance"] for run in results] for name, results in runs.items()}
    compared = difference(found["student"], found["control"])
    count = len(found["student"])
    noise = (
        f"student - control over {count} seeds: {format_difference(compared, digits=2)}"
        if count > 1
        else "one seed each: no difference shown"
    )
    uniform = float(measured.untrained.arrays["uniform_distance"])
    return (
        f"Over all layers the student attends {mean(found['student']):.2f} patches away on average, the control "
        f"{mean(found['control']):.2f} ({noise}). The "
        f"untrained network is at {measured.untrained.scalars['distance']:.2f}, uniform attention at {uniform:.2f}. "
        "The teacher, a CNN, has no attention."
    )
