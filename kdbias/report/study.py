"""The page of a study or of any runs: verdicts, what networks go by, accuracy, geometry, controls, cost, the making."""

from __future__ import annotations

from collections import Counter

from matplotlib.figure import Figure

from kdbias.report import bias_claims, bias_maps, bias_tables
from kdbias.report.bias_tables import Transfer
from kdbias.report.bias_transfer import PROBE as BIAS
from kdbias.report.estimate_text import format_difference
from kdbias.report.group import accuracy_figure, accuracy_table, gain, levels_table, runs_table, scalar_table
from kdbias.report.judged import VERDICTS, answers, verdict_figure, verdict_table
from kdbias.report.page import Code, Examples, Image, Panel, Part, Prose, Section, page
from kdbias.report.study_attention import PROBE as ATTENTION
from kdbias.report.study_attention import attention_parts, distances_apart, distances_uncorrected
from kdbias.report.study_cues import PROBE as CUES
from kdbias.report.study_cues import cue_figures, cue_parts, first_numbers, networks_table, shares_within_noise
from kdbias.report.study_results import StudyResults
from kdbias.report.study_training import training_panels, training_section
from kdbias.report.table import Cell, Column, Table, percent
from kdbias.report.terms import TERMS
from kdbias.stats import Difference, transfer_index

HEADINGS = {
    CUES: "Shape or texture",
    ATTENTION: "Where attention looks",
    "cka": "CKA",
    "cka_teacher": "CKA with the teacher",
    "gradcam": "Grad-CAM",
    "gradcam_agreement": "Grad-CAM agreement",
    "knn": "k-NN",
}


def lead(found: StudyResults) -> str:
    """Say in a sentence or two how the question is answered."""
    done = f"{found.done} of {found.planned} runs are done. " if found.done < found.planned else ""
    done += "The others may change the verdicts. " if done and found.judged else ""
    if not found.judged:
        runs, groups = (
            f"{n} {what}{'s' * (n != 1)}" for n, what in ((found.done, "run"), (len(found.groups), "group"))
        )
        return f"{done}{runs} in {groups}; no hypotheses were stated in advance."
    counts = Counter(one.verdict for one in found.judged)
    in_size = sum(one.in_size for one in found.judged)
    size = {
        "contradicted": f" ({'' if in_size == counts['contradicted'] else f'{in_size} '}in size)" if in_size else ""
    }
    parts = [f"{counts[verdict]} {verdict}{size.get(verdict, '')}" for verdict in VERDICTS if counts[verdict]]
    many = "1 hypothesis" if len(found.judged) == 1 else f"{len(found.judged)} hypotheses"
    changed = f" (changed after the first result: {', '.join(found.restated)})" if found.restated else ""
    when = "recorded when runs were done already" if found.late else "stated before the runs"
    return f"{done}{many}, {when}{changed}: {', '.join(parts)}.{_of_seeds(found)}"


def _of_seeds(found: StudyResults) -> str:
    """What cannot be said for want of a second seed."""
    if found.one_seed:
        return " One seed does not show how much trainings differ, so it decides nothing."
    if found.unrepeated:
        return " No group has a second seed, to show how much trainings differ, and other seeds are not paired."
    return ""


def opening(found: StudyResults) -> list[Part]:
    """Give what stands under the title: the numbers and answers first, then who is compared, and examples."""
    about = found.about.split("\n\n")[0].strip()
    numbers = first_numbers(found)
    parts: list[Part] = [*([numbers] if numbers else []), lead(found)]
    parts += [answers(found.judged)] if found.judged else []
    parts += [Prose(about)] if about else []
    note = "The first cue-conflict images, not chosen. Neither: the answer is a third class."
    note += "" if found.unrepeated else " Of several seeds, the answers of the first."
    return [*parts, *([Examples(found.examples, note)] if found.examples else [])]


def how_made(found: StudyResults) -> list[Part]:
    """Give what the study says of its making beyond what stands under the title, then commands and hardware."""
    more = "\n\n".join(found.about.split("\n\n")[1:]).strip()
    return [*([Prose(more)] if more else []), *found.how]


def study_page(found: StudyResults) -> str:
    """Write the page; it refers to nothing outside it."""
    sections = [
        *([_verdicts(found)] if found.judged else []),
        *(_probe(name, found) for name in found.probes if name == CUES),
        _accuracy(found),
        *(_probe(name, found) for name in found.probes if name not in (BIAS, CUES)),
        *training_section(found),
        *([] if (transfer := found.transfer) is None else [_bias(transfer, found)]),
        *([Section("Beside the teachers", [indices])] if (indices := index_table(found)).rows else []),
        Section("What is within noise", ["\n\n".join(within_noise(found))]),
        Section("Runs and their cost", [runs_table([*found.groups, *found.trained])]),
        Section("How it was made", how_made(found)),
    ]
    return page(found.title, sections, opening=opening(found))


def study_figures(found: StudyResults) -> dict[str, Figure]:
    """Draw the figures, by file name."""
    own = {"verdicts": verdict_figure(found.judged) if found.judged else None}
    own["accuracy"] = accuracy_figure(found.groups)
    drawn = {name: figure for name, figure in own.items() if figure is not None}
    if (transfer := found.transfer) is not None:
        drawn |= bias_maps.figures(transfer)
    drawn |= cue_figures(found) | {name: panel.figure for name, panel in training_panels(found).items()}
    return drawn | {name: figure for figures in found.figures.values() for name, figure in figures.items()}


def study_tables(found: StudyResults) -> dict[str, Table]:
    """Give the tables, by file name."""
    tables = {"hypotheses": verdict_table(found.judged)} if found.judged else {}
    tables |= {"judged": levels_table(found.levels)} if found.levels else {}
    every = [*found.groups, *found.trained]
    tables |= {"runs": runs_table(every), "accuracy": accuracy_table(every)}
    for probe in found.probes:
        table = _scalars(probe, found) if probe != BIAS else None
        tables |= {probe: table} if table is not None else {}
    tables |= {} if (alone := networks_table(found)) is None else {"networks": alone}
    tables |= {} if (transfer := found.transfer) is None else _transfer_tables(transfer)
    return tables | ({"teachers": indices} if (indices := index_table(found)).rows else {})


def study_markdown(found: StudyResults) -> str:
    """Write the page without its figures."""
    verdicts = "".join(f"* {one.sentence}\n" for one in found.judged)
    bias = "" if found.transfer is None else "".join(f"* {line}\n" for line in transfer_sentences(found.transfer))
    tables = "\n".join(table.markdown() for table in study_tables(found).values())
    how = "\n\n".join(f"```\n{part.text}\n```" if isinstance(part, Code) else part for part in found.how)
    about = f"{found.about.strip()}\n\n" if found.about else ""
    numbers = f"{first}\n\n" if (first := first_numbers(found)) else ""
    said = f"{numbers}{lead(found)}\n\n{verdicts}{bias}\n{about}"
    noise = "\n".join(f"* {line}" for line in within_noise(found))
    return f"# {found.title}\n\n{said}{tables}\n## Within noise\n\n{noise}\n\n{how}\n"


def index_table(found: StudyResults) -> Table:
    """Give the transfer index of each hypothesis that compares a taught group with its control, on its measure."""
    groups, rows, images = {group.label: group for group in found.groups}, list[list[Cell]](), set[int]()
    for measure in dict.fromkeys(one.measure for one in found.judged if "[" not in one.measure):
        probe, _, key = measure.partition("/")
        probe_of_teacher = "accuracy" if probe == "test" else probe
        for group in found.groups:
            control = groups.get(group.control or "")
            taught = found.teachers.get(group.label, {}).get(probe_of_teacher)
            if control is None or control is group or taught is None or key not in taught.scalars:
                continue
            own, other = (one.results.get(probe, {}) for one in (group, control))
            seeds = sorted(own.keys() & other.keys())
            if not seeds:
                continue
            ours, theirs = ([of[seed].scalars.get(key, float("nan")) for seed in seeds] for of in (own, other))
            teacher = taught.scalars[key]
            cells = [sum(ours) / len(ours), sum(theirs) / len(theirs), teacher]
            rows.append([group.label, measure, *cells, transfer_index(ours, theirs, teacher)])
            images |= {int(taught.meta["n"])} if probe == "test" and "n" in taught.meta else set()
    columns = [Column("group"), Column("measure"), *(Column(head) for head in ("student", "control", "teacher"))]
    note = "(student - control) / (teacher - control): 0 is the control, 1 the teacher; Fieller's interval over seeds."
    if images:
        note += f" Teachers: accuracy on {' or '.join(f'{n:,}' for n in sorted(images))} images that the probes saw."
    return Table("Transfer index", [*columns, Column("transfer index", digits=2)], rows, note)


def within_noise(found: StudyResults) -> list[str]:
    """Say which comparisons show nothing, and what was not measured."""
    by_label = {group.label: group for group in found.groups}
    undecided = [
        one for one in found.judged if one.alike or (one.verdict == "not decided" and not one.difference.shown)
    ]
    lines = [one.sentence for one in undecided if not one.untested]
    lines += [f"Not judged: {one.says.rstrip('.')} ({one.evidence})." for one in undecided if one.untested]
    differences = {
        group.label: gain(group, by_label[group.control])
        for group in found.groups
        if group.control in by_label and group.control != group.label
    }
    table = Table("", [Column("group"), percent("")], [[label, cell] for label, cell in differences.items()])
    for label, cell in table.rows:
        if isinstance(cell, Difference) and not cell.shown:
            what = f"accuracy of {label} against {by_label[str(label)].control}"
            lines.append(_unshown(what, cell, f"{format_difference(cell, 100, 1)} (percentage points)"))
        elif isinstance(cell, str):
            lines.append(
                f"Not compared: {label} and its control {by_label[str(label)].control} have no seed in common."
            )
    apart = distances_apart(found)
    for label, one in apart.items():
        if not one.shown:
            what = f"attention distance over all layers of {label} against {by_label[label].control}"
            lines.append(_unshown(what, one, f"{format_difference(one, digits=2)} (patches)"))
    unshown = [one for one in (*(cell for _, cell in table.rows), *apart.values()) if _beside_zero(one)]
    if unshown:
        lines.append("An interval that leaves out 0 is not corrected; the verdict beside it is (Holm).")
    lines += shares_within_noise(found)
    lines += [] if found.transfer is None else ["What stress sets show has a section of its own."]
    lines += [f"Not measured: {line}" for line in found.missing]
    if not (found.judged or differences or apart or found.transfer is not None):
        lines.append("No group of this page is compared with another.")
    return lines or ["Every comparison of this page shows a difference."]


def _unshown(what: str, one: Difference, found: str) -> str:
    """Say that a difference is not shown, or why it could not be: one seed, or seeds that all gave the same."""
    if one.estimate.reason:
        return f"Not judged: {what} ({one.estimate.reason})."
    return f"{what[0].upper()}{what[1:]}: {found}."


def _beside_zero(cell: Cell) -> bool:
    """Whether a difference is not shown though its uncorrected interval leaves out 0."""
    return isinstance(cell, Difference) and not cell.shown and cell.estimate.low * cell.estimate.high > 0


def _says(table: Table) -> str:
    """Say in words what a figure of a table's first column of numbers shows."""
    written, column = table.text()[0], table.columns[1]
    return f"{column.head}: " + "; ".join(f"{row[0]} {row[1]}" for row in written) + "."


def _verdicts(found: StudyResults) -> Section:
    figure = verdict_figure(found.judged)
    caption = (
        "Difference of each hypothesis in units of the smallest that matters; 95 % intervals over seeds, not corrected."
    )
    says = " ".join(one.sentence for one in found.judged)
    parts: list[Part] = [Image([Panel(figure, says)], caption)] if figure is not None else []
    numbers = [levels_table(found.levels)] if found.levels else []
    return Section("Verdicts", [*parts, verdict_table(found.judged), *numbers])


def _accuracy(found: StudyResults) -> Section:
    figure = accuracy_figure(found.groups)
    caption = "Test accuracy by group. Dot: mean over seeds with its 95 % interval; ticks: single seeds."
    table = accuracy_table([*found.groups, *found.trained])
    says = _says(accuracy_table(found.groups))
    parts: list[Part] = [Image([Panel(figure, says)], caption)] if figure is not None else []
    return Section("Accuracy", [*parts, table])


def _transfer_tables(transfer: Transfer) -> dict[str, Table]:
    """The tables on the transfer of bias, with the claims of the earlier report where the page has its methods."""
    judged = bias_claims.claims_table(transfer)
    return bias_tables.tables(transfer) | ({"bias_claims": judged} if judged.rows else {})


def transfer_sentences(transfer: Transfer) -> list[str]:
    """Say of each method on which sets it differs from its control, and how many published claims that decides."""
    judged = bias_claims.tally(bias_claims.claims(transfer))
    return bias_tables.sentences(transfer) + ([judged] if judged else [])


def _bias(transfer: Transfer, found: StudyResults) -> Section:
    said = transfer_sentences(transfer)
    parts: list[Part] = ["\n\n".join(said) if said else "No control beside: whether a bias was handed on is open."]
    caption = "Retention of each method against its control. Coloured cells and filled marks are shown after Holm."
    parts += [Image([Panel(figure, " ".join(said))], caption) for figure in bias_maps.figures(transfer).values()]
    parts += _transfer_tables(transfer).values()
    runs = "The probe bias, each run by itself."
    parts += [Image([Panel(figure, runs)], runs) for figure in found.figures.get(BIAS, {}).values()]
    return Section("Transfer of bias", parts)


def _scalars(probe: str, found: StudyResults) -> Table | None:
    apart = ("distance", distances_uncorrected(found)) if probe == ATTENTION else None
    return scalar_table(probe, found.groups, found.beside.get(probe, {}), apart)


def _probe(name: str, found: StudyResults) -> Section:
    table = _scalars(name, found)
    parts: list[Part] = [TERMS[name]] if name in TERMS else []
    own = {CUES: cue_parts, ATTENTION: attention_parts}
    if name in own:
        parts += own[name](found)
    elif figures := found.figures.get(name):
        caption = f"The probe {name}: a line or row for each group, over its seeds."
        says = caption if table is None else _says(table)
        parts.append(Image([Panel(next(iter(figures.values())), says)], caption))
    parts += [table] if table is not None else []
    return Section(HEADINGS.get(name, name.replace("_", " ").capitalize()), parts)
