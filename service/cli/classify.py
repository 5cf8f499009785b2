"""`convoy classify`: pictures, folders or standard input to a server, its answers to a table or to JSON lines.

Needs only the base install, and Pillow for --explain. Exit code 0 when every picture was classified, 1 when any was
rejected, 2 for a mistake or a server that gives no answer, said in one sentence after the answers that came before it.
"""

import dataclasses
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.client.channel import DEFAULT_SERVER, DEFAULT_TIMEOUT
from service.client.client import Client
from service.client.errors import ClientError, ImageRejected
from service.client.results import Classification, ClassScore
from service.errors import SettingsError
from service.jobs.sources import find_pictures

if TYPE_CHECKING:
    from rich.text import Text

STDIN = "-"

Answers = Iterable[tuple[str, Classification | ImageRejected]]


def classify(
    pictures: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PICTURE]...", help="Files, folders with all below them, or - for standard input."),
    ] = None,
    *,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input", metavar="NAME=FILE", help="The picture of one input, for a model with several; once for each."
        ),
    ] = None,
    server: Annotated[str, typer.Option(metavar="HOST:PORT", help="The gRPC server.")] = DEFAULT_SERVER,
    model: Annotated[str | None, typer.Option(help="Model to ask; not needed where the server has only one.")] = None,
    version: Annotated[int | None, typer.Option(help="Version of the model; else its highest that is READY.")] = None,
    version_label: Annotated[str | None, typer.Option(help="Version by its label, such as stable.")] = None,
    top_k: Annotated[
        int | None, typer.Option(min=1, help="Classes for each picture, best first; 5 unless the model has fewer.")
    ] = None,
    explain: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw where the model looked on the one picture: out.png.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line, as the answers come.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds that one call may take.")] = DEFAULT_TIMEOUT,
) -> None:
    """Ask a server what is on pictures; exit code 1 if any was rejected, 2 for a mistake or no answer."""
    show: Callable[[Answers], int] = print_json if as_json else print_table
    try:
        names, together = expand(pictures or []), by_input(inputs or [])
        if bool(names) == bool(together):
            raise ValueError("give pictures, or --input NAME=FILE for each input of a model with several")
        images = [sys.stdin.buffer.read() if name == STDIN else name for name in names]
        if explain is not None:
            check_drawing(explain, images)
        with Client(server, timeout=timeout) as client:
            asked: dict[str, Any] = {
                "model": model or only_model(client, server),
                "version": version,
                "version_label": version_label,
                "top_k": top_k,
                "explain": explain is not None,
            }
            answers = _together(client, together, asked) if together else _each(client, names, images, asked)
            rejected = show(answers if explain is None else _drawn(client, answers, images[0], explain))
    except (ClientError, SettingsError, OSError, ValueError) as error:
        typer.echo(f"convoy classify: {sentence(error)}", err=True)
        raise typer.Exit(2) from error
    raise typer.Exit(1 if rejected else 0)


def expand(arguments: list[str]) -> list[str]:
    """The arguments with each folder replaced by its pictures. Raises SettingsError for one without pictures."""
    if arguments.count(STDIN) > 1:
        raise ValueError("- stands for standard input and can be given only once")
    return [name for argument in arguments for name in _pictures(argument)]


def by_input(arguments: list[str]) -> dict[str, str]:
    """The files by input name, from NAME=FILE. Raises ValueError."""
    files: dict[str, str] = {}
    for argument in arguments:
        name, is_there, file = argument.partition("=")
        if not (name and is_there and file):
            raise ValueError(f"--input {argument!r} is not NAME=FILE, such as left=a.png")
        if name in files:
            raise ValueError(f"--input {name} is given twice; every input takes one picture")
        files[name] = file
    return files


def check_drawing(path: Path, images: Sequence[str | bytes]) -> None:
    """Raises SettingsError or ValueError where what is asked for can't be drawn, before anything is sent."""
    try:
        from service.cli import drawing
    except ModuleNotFoundError as error:
        raise SettingsError("--explain draws with Pillow, which is not installed: pip install pillow") from error
    if len(images) != 1:
        raise ValueError(f"--explain draws one picture, and {len(images) or 'those of --input'} were given")
    drawing.check_path(path)


def _drawn(client: Client, answers: Answers, image: str | bytes, path: Path) -> Answers:
    """The picture's answer, drawn to the file as it goes by."""
    from service.cli import drawing

    for name, answer in answers:
        if not isinstance(answer, ImageRejected):
            picture = image if isinstance(image, bytes) else Path(image).read_bytes()
            spec = client.get_model(answer.model, version=answer.version).preprocessing[0]
            explained = {head: best for head, (best, *_) in answer.heads.items() if best.activation_map}
            if not explained:
                raise ValueError(f"model {answer.model!r} came without activation maps: its server is too old")
            source = f"{answer.model} version {answer.version}"
            titles = [title(answer, head) for head in explained]
            panels = drawing.draw(picture, spec, [best.activation_map or () for best in explained.values()])
            drawing.framed(panels, titles, source).save(path)
            typer.echo(f"{path}: where {source} looked", err=True)
        yield name, answer


def title(answer: Classification, head: str) -> str:
    """What stands above the drawing of a head's best class."""
    return f"{_answer(answer, head)} {answer.heads[head][0].score:.3f}"


def _each(client: Client, names: list[str], images: Sequence[str | bytes], asked: dict[str, Any]) -> Answers:
    return zip(names, client.classify_stream(images, **asked), strict=True)


def _together(client: Client, files: dict[str, str], asked: dict[str, Any]) -> Answers:
    """One answer about the pictures of all inputs."""
    answer: Classification | ImageRejected
    try:
        answer = client.classify(files, **asked)
    except ImageRejected as error:
        answer = error
    return [(" ".join(f"{name}={file}" for name, file in files.items()), answer)]


def only_model(client: Client, server: str) -> str:
    """The name of the server's one model. Raises ValueError if it has none or several."""
    names = [model.name for model in client.list_models()]
    if len(names) != 1:
        found = f"has the models {', '.join(names)}: choose one with --model" if names else "has no model yet"
        raise ValueError(f"server {server} {found}")
    return names[0]


def print_json(answers: Answers) -> int:
    """One object a line; gives the number of rejected pictures."""
    rejected = 0
    for name, answer in answers:
        if isinstance(answer, ImageRejected):
            rejected += 1
            value = {"error": {"code": answer.code, "message": answer.problem}}
        else:
            value = dataclasses.asdict(answer, dict_factory=_known)
        typer.echo(json.dumps({"picture": name, **value}))
    return rejected


def print_table(answers: Answers) -> int:
    """One table, also of what came before an error; gives the number of rejected pictures."""
    from rich.console import Console
    from rich.table import Column, Table

    table = Table(Column("Picture", overflow="fold"), "Class", "Score", "Next")
    total = rejected = 0
    source = ""
    try:
        for name, answer in answers:
            total += 1
            if isinstance(answer, ImageRejected):
                rejected += 1
            else:
                source = f" by {answer.model} version {answer.version}"
            for row in _rows(name, answer):
                table.add_row(*row)
    finally:
        table.caption = f"{total - rejected} of {total} classified{source}"
        if table.rows:
            Console().print(table)
    return rejected


def _rows(name: str, answer: Classification | ImageRejected) -> "Iterator[Sequence[Text]]":
    """One row a head. Names and labels are Text, so that no bracket in them is taken for markup."""
    from rich.text import Text

    if isinstance(answer, ImageRejected):
        yield Text(name), Text(answer.problem, "red")
        return
    for head, (best, *others) in answer.heads.items():
        following = ", ".join(f"{_label(other)} {other.score:.3f}" for other in others)
        shown = Text(_answer(answer, head), "yellow" if head in answer.abstained else "")
        yield Text(name), shown, Text(f"{best.score:.3f}"), Text(following)


def _answer(answer: Classification, head: str) -> str:
    """A head's best class for a person, with the head's name where there are several."""
    label = _label(answer.heads[head][0])
    of_head = f"{head}: " if len(answer.heads) > 1 else ""
    return f"{of_head}{label}{' (unsure)' if head in answer.abstained else ''}"


def _known(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object without what the answer does not have."""
    return {key: value for key, value in pairs if value is not None}


def sentence(error: Exception) -> str:
    """The error for a person: a missing file without its number."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _pictures(argument: str) -> list[str]:
    """A folder's pictures, the same that `convoy batch` finds in it; what is no folder is for the client to open."""
    return [str(path) for path in find_pictures(argument)] if Path(argument).is_dir() else [argument]


def _label(score: ClassScore) -> str:
    return score.label or f"class {score.index}"
