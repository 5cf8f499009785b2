"""The sections that are read rather than looked at: the run, its proof, its speed, where it comes from."""

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from bundle.manifest import Preprocessing
from training.config import TrainingConfig
from training.datasets import FILES, name_of_files
from training.report.parts import Column, Facts, Part, Section, Subject, Table

_ON_GOLDEN = "accuracy on labelled golden pictures"
_DIGEST = 19  # letters of a digest that tell it from others: "sha256:" and 12 digits


def headline(subject: Subject) -> dict[str, str]:
    """The figures at the top of the page, by what they are called; those that are not known are left out."""
    metrics, manifest = subject.record.metrics, subject.manifest
    shares = {
        "test_accuracy": "test accuracy" if subject.is_ours else _ON_GOLDEN,  # another's was called so at first
        "golden_accuracy": _ON_GOLDEN,
        "accuracy": "accuracy",
    }
    shares |= {f"{head.name}_test_accuracy": f"{head.name} accuracy" for head in manifest.heads[1:]}
    figures = {words: f"{manifest.metrics[name]:.2%}" for name, words in shares.items() if name in manifest.metrics}
    if (count := metrics.get("golden_pictures", metrics.get("test_pictures"))) is not None:
        figures[subject.judged_on] = f"{count:,}"
    figures["labels"] = " + ".join(f"{len(labels):,}" for labels in subject.labels.values())
    if subject.model is not None:
        figures["parameters"] = _short(subject.model.count_params())
    if "training_seconds" in metrics:
        figures["training"] = _duration(metrics["training_seconds"])
    return figures


def summary(subject: Subject) -> Section:
    """What goes in, what comes out, how it was trained."""
    manifest, config = subject.manifest, subject.manifest.provenance.config
    contract = {f"input {spec.input}": _picture(spec) for spec in manifest.preprocessing}
    contract |= {f"head {head.name}": _labels(subject.labels[head.name]) for head in manifest.heads}
    parts: list[Part] = [Facts("What the model takes and answers.", contract)]
    if decisions := subject.record.metrics.get("decisions"):
        known = {name.replace("_", " "): _digest(str(value)) for name, value in config.items() if value is not None}
        parts.append(Facts("What it was published from.", known | {"decided": "; ".join(decisions)}))
    elif config:
        told = config | _dataset(config)
        said = {name.replace("_", " "): _value(value) for name, value in told.items() if not _usual(name, value)}
        is_ours = "architecture" in config
        caption = "How it was trained; all other settings are the usual ones." if is_ours else "What it was made from."
        parts.append(Facts(caption, said))
    if notes := subject.record.metrics.get("notes"):
        parts.append(Table("What the run warned of, left out or chose.", [("note", "text")], [(one,) for one in notes]))
    parts.append(Facts("Where it comes from.", _origin(subject)))
    return Section("summary", "Summary", "What it takes and gives, how it was made, and by what.", parts)


def _dataset(config: Mapping[str, Any]) -> dict[str, str]:
    """The name of a dataset of the user's own; the configuration has one word for all of them."""
    is_own = config.get("dataset") == FILES and config.get("data")
    return {"dataset": name_of_files(Path(config["data"]))} if is_own else {}


def _usual(name: str, value: object) -> bool:
    """Whether a setting is what it is where nobody says anything."""
    return any(knob.name == name and knob.default == value for knob in dataclasses.fields(TrainingConfig))


def proof(subject: Subject) -> Section:
    """How far every exported format is from the original, which is Keras where it was trained here."""
    found = subject.record.metrics.get("parity", [])
    lead = "Every exported format ran in a fresh process and was compared with the original model, number by number."
    if not found:
        return Section("proof", "Proof", lead)
    exact = subject.manifest.variants[0]  # those of a coarser precision have tolerances of their own
    columns: list[Column] = [
        ("format", "text"),
        ("output", "text"),
        ("batch", "number"),
        ("max", "number"),
        ("mean", "number"),
        ("same class", "number"),
    ]
    rows = [
        (
            one["format"],
            one.get("output", ""),
            one["batch_size"],
            _difference(one["max_difference"]),
            _difference(one["mean_difference"]),
            f"{one['agreement']:.2%}",
        )
        for one in found
    ]
    caption = (
        "Max and mean are absolute differences between scores, of an activation map shares of its largest value. Where "
        f"max was more than {exact.tolerance:g} nothing would have been published."
    )
    return Section("proof", "Proof", lead, [Table(caption, columns, rows)])


def speed(subject: Subject) -> Section:
    """The variants side by side: precision, accuracy, examples a second."""
    measured = subject.record.metrics.get("speed", {})
    rates = {(one["variant"], one["batch_size"]): one["images_per_second"] for one in measured.get("runs", [])}
    sizes = sorted({size for _, size in rates})
    columns: list[Column] = [
        ("variant", "text"),
        ("format", "text"),
        ("precision", "text"),
        ("accuracy", "number"),
        ("same class", "number"),
        ("tolerance", "number"),
    ]
    columns += [(f"images/s, batch {size}", "number") for size in sizes]
    rows = [
        (
            variant.name,
            variant.format,
            variant.precision,
            _share(variant.accuracy),
            _share(variant.agreement),
            f"{variant.tolerance:g}",
            *(_rate(rates.get((variant.name, size))) for size in sizes),
        )
        for variant in subject.manifest.variants
    ]
    machine = measured.get("machine")
    caption = (
        "Same class is the share of test pictures with the first variant's best class; where both shares are dashes, "
        "the proof above stands for them. Tolerance is how far a server lets golden answers be off. "
    ) + (
        f"Machine-dependent: examples a second of the bare runtime, without a server, measured on {machine}."
        if machine
        else "This version holds no measurement of their speed."
    )
    lead = "What can be served, how exact it is, and how fast the runtime alone gets through it."
    return Section("speed", "Speed", lead, [Table(caption, columns, rows)])


def _origin(subject: Subject) -> dict[str, str]:
    origin = subject.manifest.provenance
    facts = {"created": when(origin.created), "code": origin.git_revision, "data": origin.data_digest}
    known = {name: _digest(value) for name, value in facts.items() if value}
    return known | {name: version for name, version in origin.libraries.items() if not name.endswith("-cpu")}


def when(created: str) -> str:
    """A moment in ISO 8601 for people; as it is where it is something else."""
    try:
        moment = datetime.fromisoformat(created)
    except ValueError:
        return created
    return f"{moment.day} {moment:%B %Y, %H:%M %Z}".strip()


def _digest(value: str) -> str:
    return f"{value[:_DIGEST]}…" if len(value) > 2 * _DIGEST else value


def _labels(labels: tuple[str, ...], most: int = 12) -> str:
    listed = ", ".join(labels[:most])
    return listed if len(labels) <= most else f"{listed} and {len(labels) - most:,} more"


def _picture(spec: Preprocessing) -> str:
    fitted = {"stretch": "stretched", "crop": "cropped", "pad": "padded"}[spec.resize]
    return f"{spec.height}×{spec.width} pixels, {'grey' if spec.channels == 1 else 'RGB'}, {fitted} to fit"


def _value(value: Any) -> str:
    words: Mapping[Any, str] = {True: "yes", False: "no"}
    if value is None:
        return "none"
    return words[value] if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _difference(value: float) -> str:
    return f"{value:.1e}" if value else "0"


def _share(value: float | None) -> str | None:
    return None if value is None else f"{value:.2%}"


def _rate(value: float | None) -> str | None:
    return None if value is None else f"{value:,.0f}"


def _short(count: int) -> str:
    """As "1.23 M": three digits, so from 999,500 on a count is a million."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= 0.9995 * size:
            return f"{count / size:.3g} {letter}"
    return str(count)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, over = divmod(minutes, 60)
    if hours:
        return f"{hours} h {over} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
