"""The sections about what the model answered: learning, classes, probabilities, mistakes, and its view of the data."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.evaluate import Evaluation
from training.report.parts import Cards, Chart, Column, Facts, Missing, Part, Section, Subject, Table
from training.report.record import Chosen
from training.visualize.cards import percent, plain
from training.visualize.confusion import confusion_matrix
from training.visualize.curves import learning_curve
from training.visualize.embedding import NAMED, Projection, embedding
from training.visualize.reliability import FEW, Reliability, reliability, reliability_diagram
from training.visualize.sheet import Card

_IN_ORDER = 24  # classes that are listed in their own order
_NO_ANSWERS = "This version holds no answers to test pictures, so {} left out."


def learning(subject: Subject) -> Section:
    """Loss and accuracies by epoch."""
    lead = "How loss and accuracy came along, epoch by epoch, on training pictures and on held-out ones."
    history: Mapping[str, Any] = subject.record.metrics.get("history", {})
    names = [name for name in history if f"val_{name}" in history and (name == "loss" or name.endswith("accuracy"))]
    if not names:
        sentence = "This version holds no history of a training run, so its learning curves are left out."
        return Section("learning", "Learning", lead, [Missing(sentence)])
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
        right = f"{answers.accuracy:.2%} of {len(answers.labels):,} test examples are right"
        caption = (
            f"{_head(head, subject)}{right}; a row is a true class, blue its right answers, orange what its others "
            "were taken for."
        )
        name = _file("confusion_matrix", head, subject)
        parts += [
            Chart(name, caption, confusion_matrix(answers.confusion, labels)),
            _per_class(answers, labels, _head(head, subject)),
        ]
    parts = parts or [Missing(_NO_ANSWERS.format("the figures of its classes are"))]
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
    for head, answers in subject.record.evaluations.items():
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
    parts = parts or [Missing(_NO_ANSWERS.format("the reliability of its probabilities is"))]
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


def _curves(subject: Subject, head: str, answers: Evaluation) -> dict[str, Reliability]:
    """The published probabilities, and those before calibration where there was any."""
    published = reliability(answers.scores, answers.predicted == answers.labels)
    fitted = _calibration(subject, head)
    if fitted.get("temperature") is None:
        return {"published": published}
    before = fitted["before"]["bins"]
    counts, shares, accuracies = (np.array([one[key] for one in before]) for key in ("count", "confidence", "accuracy"))
    return {"after calibration": published, "before": Reliability(counts, shares, accuracies)}


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
    if not subject.record.evaluations:
        parts.append(Missing(_NO_ANSWERS.format("its mistakes are")))
    parts = parts or [Missing("Not one test example was answered wrongly.")]
    return Section("mistakes", "Mistakes", lead, parts)


def _mistaken(subject: Subject, head: str, chosen: Chosen) -> Iterator[Card]:
    answers, labels = subject.record.evaluations[head], subject.labels[head]
    for place, row in enumerate(chosen.rows):
        pictures = plain(chosen.pictures, place)
        wrong, true = labels[answers.predicted[row]], labels[answers.labels[row]]
        yield Card(f"{wrong} {percent(answers.scores[row])}", pictures, f"truth: {true}", is_wrong=True)


def projection(subject: Subject) -> Section:
    """The last features on their principal axes."""
    lead = "Test examples as the last layer sees them: what lies together is alike to the model."
    flat = subject.record.embedding
    if flat is None or len(flat.shares) < 2:  # noqa: PLR2004 - a plane has two axes
        sentence = "This version holds no projection of its test pictures, so this picture is left out."
        return Section("projection", "Embedding", lead, [Missing(sentence)])
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
