"""Makes the report of a version from what the version holds: one page, and its pictures beside it.

The same for a version that is about to be published and for one that was, by whomever: what it does not hold is left
out. Called by `training.publish` and by `convoy report`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import keras

from bundle.store import Bundle
from training.refusing import keras_code
from training.report import answers, facts, insides
from training.report.page import render
from training.report.parts import Cards, Chart, Graph, Missing, Part, Section, Subject
from training.report.record import FOLDER, MODEL, read_record
from training.visualize import style
from training.visualize.sheet import sheet

PAGE = "index.html"
_SECTIONS = (
    facts.summary,
    insides.architecture,
    answers.learning,
    answers.classes,
    answers.confidence,
    answers.mistakes,
    answers.golden,
    answers.projection,
    insides.filters,
    insides.layers,
    insides.reasons,
    facts.proof,
    facts.speed,
)


def make_report(bundle: Bundle, folder: Path, name: str) -> Path:
    """Writes index.html and its pictures into `folder` and gives the page's path.

    `bundle` may lie in a staging folder, so its model's name is said. Raises BundleInvalid where a file of it can't be
    read, OSError where the folder can't be written.
    """
    subject = read_subject(bundle, name)
    sections = sections_of(subject)
    folder.mkdir(parents=True, exist_ok=True)
    for section in sections:
        for part in section.parts:
            _write_beside(folder, part)
    page = folder / PAGE
    page.write_text(page_of(subject, sections), encoding="utf-8")
    return page


def read_subject(bundle: Bundle, name: str) -> Subject:
    """What a version holds that a report can be made from."""
    model, why = _model(bundle)
    return Subject(
        name=name,
        manifest=bundle.manifest,
        labels={head.name: bundle.labels(head.name) for head in bundle.manifest.heads},
        record=read_record(bundle.path),
        golden={input: bundle.golden_images(input) for input in bundle.manifest.golden.images},  # noqa: A001
        model=model,
        why_no_model=why,
        golden_answers=bundle.golden_outputs(),
    )


def _model(bundle: Bundle) -> tuple[keras.Model | None, str]:
    """The Keras model beside the exported ones, or why there is none. A file that brings code along is not loaded."""
    file = bundle.path / FOLDER / MODEL
    if not file.is_file():
        return None, ""
    try:
        keras_code.refuse_code(file, {})
        return keras.saving.load_model(file, compile=False), ""
    except Exception as error:  # Keras raises whatever it likes
        first_line = str(error).partition("\n")[0]
        return None, f"The Keras model of this version can't be loaded, so it can't be looked into: {first_line}"


def sections_of(subject: Subject) -> list[Section]:
    """The sections that the version holds something of, and those that could not be drawn, which say so."""
    return [made for section in _SECTIONS if (made := _made(section, subject)).parts]


def _made(section: Callable[[Subject], Section], subject: Subject) -> Section:
    """A section, or what went wrong in it: hours of training are not lost for a picture."""
    try:
        return section(subject)
    except Exception as error:
        name, reason = section.__name__, f"{type(error).__name__}: {error}".partition("\n")[0]
        return Section(name, name.capitalize(), "", [Missing(f"This could not be drawn: {reason}")])


def page_of(subject: Subject, sections: Sequence[Section]) -> str:
    """The page as HTML."""
    created = subject.manifest.provenance.created
    return render(
        subject.name, f"Published {facts.when(created)}" if created else "", facts.headline(subject), sections
    )


def _write_beside(folder: Path, part: Part) -> None:
    match part:
        case Chart():
            (folder / f"{part.file}.png").write_bytes(style.png(part.figure))
        case Cards():
            (folder / f"{part.file}.png").write_bytes(style.png(sheet(part.cards, has_scale=part.has_scale)))
        case Graph():
            (folder / f"{part.file}.svg").write_text(part.drawing.svg, encoding="utf-8")
        case _:
            pass
