"""The sections about what the model answered: learning, classes, probabilities, mistakes, and its view of the data.

A section without a part says that the version holds nothing of it; `make` leaves it out.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.calibrate import Bin, reliability
from training.evaluate import Evaluation
from training.report.parts import Cards, Chart, Column, Facts, Missing, Part, Section, Subject, Table
from training.report.record import Chosen
from training.visualize.cards import Pictures, plain, words_for
from training.visualize.confusion import confusion_matrix
from training.visualize.curves import learning_curve
from training.visualize.embedding import NAMED, Projection, embedding
from training.visualize.reliability import FEW, reliability_diagram
from training.visualize.sheet import Card

_LEAST_DOTS = 30  # of an embedding: among fewer, neighbours are chance, and names hide the dots
_IN_ORDER = 24  # classes that are listed in their own order


def learning(subject: Subject) -> Section:
    """Loss and accuracies by epoch."""
    lead = "How loss and accuracy came along, epoch by epoch, on training pictures and on held-out ones."
    history: Mapping[str, Any] = subject.record.metrics.get("history", {})
    names = [name for name in history if f"val_{name}" in history and (name == "loss" or name.endswith("accuracy"))]
    if not names:
        return Section("learning", "Learning", lead)
    kept = subject.record.metrics["best_epoch"] - 1
    return Section("learning", "Learning", lead, [_curve(name, history, kept) for name in names])


def _curve(name: str, history: Mapping[str, Any], kept: int) -> Chart:
    is_share = name.endswith("accuracy")
    caption = (
        "Higher is better; where the lines part, the model begins to learn its training pictures by heart."
        if is_share
        else "Lower is better; the marked epoch has the least validation loss, and its weights were published."
    )
    title = name.replace("_", " ").capitalize()
    figure = learning_curve(title, history[name], history[f"val_{name}"], kept, percent=is_share)
    return Chart(f"learning_curve_{name}", caption, figure)


def classes(subject: Subject) -> Section:
    """Confusion matrix and figures for each class, for each head."""
    lead = "Which classes are told apart, and which are taken for one another."
    parts: list[Part] = []
    for head, answers in subject.record.evaluations.items():
        labels = subject.labels[head]
        right = f"{answers.accuracy:.2%} of {len(answers.labels):,} {subject.judged_on} are right"
        caption = (
            f"{_head(head, subject)}{right}; a row is a true class, blue its right answers, orange what its others "
            "were taken for."
        )
        name = _file("confusion_matrix", head, subject)
        parts += [
            Chart(name, caption, confusion_matrix(answers.confusion, labels)),
            _per_class(answers, labels, _head(head, subject)),
        ]
    return Section("classes", "Class by class", lead, parts)


def _per_class(answers: Evaluation, labels: tuple[str, ...], head: str) -> Table:
    support, answered = answers.confusion.sum(axis=1), answers.confusion.sum(axis=0)
    shares: list[Column] = [("precision", "share"), ("recall", "share"), ("F1", "share")]
    columns: list[Column] = [("class", "text"), *shares, ("support", "number")]
    precision, recall = _where(answered, answers.precision), _where(support, answers.recall)
    f1 = _where(answered + support, answers.f1)
    rows = list(zip(labels, precision, recall, f1, support.tolist(), strict=True))
    caption = (
        f"{head}Of the answers with a class, precision is the share that is right; of its pictures, recall is the "
        "share that was found; F1 is their harmonic mean, support the number of pictures. A dash is a share of none."
    )
    if len(rows) > _IN_ORDER:
        caption += " The classes with the least F1 come first."
        rows.sort(key=lambda row: math.inf if row[3] is None else row[3])
    return Table(caption, columns, rows)


def _where(known: NDArray[np.int64], shares: NDArray[np.float64]) -> list[float | None]:
    """The shares, None where they are shares of nothing: 0% would call a class bad that was never asked for."""
    return [float(share) if count else None for count, share in zip(known, shares, strict=True)]


def confidence(subject: Subject) -> Section:
    """Reliability diagrams, before and after calibration where the record has both."""
    lead = "Whether an answer given with 80% is right in 80% of the cases."
    parts: list[Part] = []
    activations = {head.name: head.activation for head in subject.manifest.heads}
    for head, answers in subject.record.evaluations.items():
        if activations[head] == "none":
            continue
        curves = _curves(subject, head, answers)
        caption = (
            f"{_head(head, subject)}On the dashed line probabilities mean what they say; below it the model is too "
            f"sure, above it too modest; ECE is the mean distance, faint dots are of fewer than {FEW} answers."
        )
        parts.append(Chart(_file("reliability", head, subject), caption, reliability_diagram(curves)))
        if "after" in (known := _calibration(subject, head)):
            parts.append(
                Facts(f"{_head(head, subject)}Fitted on validation, judged on test examples.", _settled(known))
            )
    return Section("confidence", "Confidence", lead, parts)


def _calibration(subject: Subject, head: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = subject.record.metrics.get("heads", {}).get(head, {}).get("calibration", {})
    return found


def _settled(settled: Mapping[str, Any]) -> dict[str, str]:
    """What is known of a head's scores beside their diagram: `training.confidence.Confidence` as a record keeps it."""
    before, after, threshold = settled["before"], settled["after"], settled.get("threshold")
    temperature = settled["temperature"]
    facts = {"temperature": "none" if temperature is None else f"{temperature:.3g}"}
    for name, words in (("ece", "calibration error"), ("nll", "negative log-likelihood")):
        was = "" if temperature is None else f", {before[name]:.3f} before"
        facts[words] = f"{after[name]:.3f}{was}"
    if threshold is not None:
        facts["abstains below"] = f"{threshold['score']:.1%}"
        facts["still answered"] = f"{settled['test_coverage']:.1%} of the test examples"
        precision = settled["test_precision"]
        facts["right of these"] = "none answered" if precision is None else f"{precision:.1%}"
    return facts


def _curves(subject: Subject, head: str, answers: Evaluation) -> dict[str, Sequence[Bin]]:
    """The published probabilities, and those before calibration where there was any."""
    published = reliability(answers.scores, answers.predicted == answers.labels)
    fitted = _calibration(subject, head)
    if fitted.get("temperature") is None:
        return {"published": published}
    return {"after calibration": published, "before": [Bin(**one) for one in fitted["before"]["bins"]]}


def mistakes(subject: Subject) -> Section:
    """The wrong answers that were given with the highest probabilities."""
    lead = (
        "The wrong answers of which the model was most certain: unusual pictures, doubtful labels, or real weaknesses."
    )
    parts: list[Part] = []
    for head, chosen in subject.record.mistakes.items():
        cards = list(_mistaken(subject, head, chosen))
        if cards:
            caption = (
                f"{_head(head, subject)}Each card says what the model answered, how sure it was, and the true label."
            )
            parts.append(Cards(_file("mistakes", head, subject), caption, cards))
    if subject.record.evaluations and not parts:
        parts.append(Missing(f"Not one of the {subject.judged_on} was answered wrongly."))
    return Section("mistakes", "Mistakes", lead, parts)


def _mistaken(subject: Subject, head: str, chosen: Chosen) -> Iterator[Card]:
    answers, labels = subject.record.evaluations[head], subject.labels[head]
    words = words_for(next(one for one in subject.manifest.heads if one.name == head))
    for place, row in enumerate(chosen.rows):
        pictures = plain(chosen.pictures, place)
        wrong, true = labels[answers.predicted[row]], labels[answers.labels[row]]
        yield Card(f"{wrong} {words(answers.scores[row])}", pictures, f"truth: {true}", is_wrong=True)


def golden(subject: Subject) -> Section:
    """The golden pictures with the original's answers, where no test pictures are shown."""
    lead = "The pictures that every server must answer as the original did, before it serves the model."
    if subject.record.examples is not None or not subject.golden_answers:
        return Section("golden", "Golden pictures", lead)
    pixels = subject.golden_pixels()
    parts = [
        Cards(
            _file("golden", head.name, subject),
            f"{_head(head.name, subject)}Each card says what the original answered, and how sure it was.",
            _answered(pixels, subject.golden_answers[head.output], subject.labels[head.name], words_for(head)),
        )
        for head in subject.manifest.heads
    ]
    return Section("golden", "Golden pictures", lead, parts)


def _answered(
    pixels: Pictures, answers: NDArray[np.floating], labels: tuple[str, ...], words: Callable[[float], str]
) -> list[Card]:
    best = answers.argmax(axis=1)
    return [
        Card(f"{labels[number]} {words(answers[place, number])}", plain(pixels, place))
        for place, number in enumerate(best)
    ]


def projection(subject: Subject) -> Section:
    """The last features on their principal axes."""
    lead = "Test examples as the last layer sees them: what lies together is alike to the model."
    flat = subject.record.embedding
    if flat is None or len(flat.shares) < 2:  # noqa: PLR2004 - a plane has two axes
        return Section("projection", "Embedding", lead)
    if len(flat.classes) < _LEAST_DOTS:
        few = f"{len(flat.classes)} test examples are too few to show what lies together; from {_LEAST_DOTS} on"
        return Section("projection", "Embedding", lead, [Missing(f"{few} they are drawn here.")])
    head = next(iter(subject.labels))
    unnamed = "" if len(subject.labels[head]) <= NAMED else "; the classes are too many to be named here"
    caption = (
        f"One dot an example, {len(flat.classes):,} in all, on the axes along which the features of the layer before "
        f"the answer differ most (principal components), coloured by true class{unnamed}."
    )
    plane = Projection(flat.points, flat.shares)
    parts = [Chart("embedding", caption, embedding(plane, flat.classes, subject.labels[head]))]
    if len(flat.shares) >= 4:  # noqa: PLR2004 - two planes
        others = "The same dots on the next two axes, which pull apart some of what lies together on the first two."
        parts.append(Chart("embedding.2", others, embedding(plane, flat.classes, subject.labels[head], first=2)))
    return Section("projection", "Embedding", lead, parts)


def _head(head: str, subject: Subject) -> str:
    """How a caption begins that is about one of several heads."""
    return f"Head {head}: " if len(subject.labels) > 1 else ""


def _file(name: str, head: str, subject: Subject) -> str:
    return name if head == next(iter(subject.labels)) else f"{name}.{head}"
