"""The front door: the `convoy` command and the Python client.

Imports nothing heavy by itself. A command's module is loaded when that command is asked for, the client when one of its
names is first used; so `convoy --help` works with the base install and shows every command.
"""

import errno
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, NoReturn

if TYPE_CHECKING:
    import typer

    from service.client.aio import AsyncClient
    from service.client.client import Client
    from service.client.errors import (
        AccessDenied,
        CallCancelled,
        CallFailed,
        ClientError,
        DeadlineExceeded,
        ImageRejected,
        InvalidRequest,
        MessageTooLarge,
        ModelNotFound,
        ModelUnusable,
        Overloaded,
        ServerFailed,
        ServerUnavailable,
        WrongServer,
    )
    from service.client.results import (
        Classification,
        ClassScore,
        Head,
        ModelInfo,
        ModelSummary,
        Preprocessing,
        TensorSpec,
        Timing,
        VersionStatus,
    )

__all__ = [
    "AccessDenied",
    "AsyncClient",
    "CallCancelled",
    "CallFailed",
    "ClassScore",
    "Classification",
    "Client",
    "ClientError",
    "DeadlineExceeded",
    "Head",
    "ImageRejected",
    "InvalidRequest",
    "MessageTooLarge",
    "ModelInfo",
    "ModelNotFound",
    "ModelSummary",
    "ModelUnusable",
    "Overloaded",
    "Preprocessing",
    "ServerFailed",
    "ServerUnavailable",
    "TensorSpec",
    "Timing",
    "VersionStatus",
    "WrongServer",
]

_HOMES = ("service.client.results", "service.client.errors", "service.client.client", "service.client.aio")
_OURS = {"bundle", "protos", "service", "training"}
# Why even a look whether there is something at a path fails, in any command that is given one.
_NO_LOOK = {errno.ENAMETOOLONG: "give a shorter path", errno.EACCES: "give one that you may read"}


class Command(NamedTuple):
    """Where a command's function is, its line in the help, and the extra that installs what it needs."""

    target: str
    help: str
    extra: str | None = None


COMMANDS = {
    "train": Command("training.cli:train", "Train a model, prove its export and publish it.", "training"),
    "publish": Command("training.cli_publish:publish", "Publish a model that was trained elsewhere.", "training"),
    "report": Command("training.cli_report:report", "Make the report of a published version again.", "training"),
    "show": Command("training.cli_show:show", "Draw what a model does with one picture.", "training"),
    "serve": Command("service.cli.serve:serve", "Serve the models of a repository over gRPC.", "service"),
    "classify": Command("service.cli.classify:classify", "Ask a server what is on pictures."),
    "models": Command("service.cli.models:models", "Show the models of a server."),
    "label": Command("service.cli.label:label", "Point a version label at a version, on a server."),
    "plan": Command("service.cli.plan:plan", "Show how a version would run here, and why.", "service"),
    "batch": Command("service.cli.batch:batch", "Classify a folder of pictures without a server.", "batch"),
    "verify": Command("service.cli.verify:verify", "Check published versions again.", "service"),
    "health": Command("service.cli.health:health", "Ask a server whether it serves.", "service"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the `convoy` command and exits; `arguments` are the process's own unless given."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        _app()(args=arguments, prog_name="convoy")
    except ModuleNotFoundError as error:
        command = COMMANDS.get(next(iter(arguments), ""))
        missing = (error.name or "").partition(".")[0]
        if command is None or command.extra is None or missing in _OURS:
            raise
        remedy = f"run pip install '.[{command.extra}]' in a checkout of Convoy"
        _refuse(arguments[0], f"{missing} is not installed; {remedy}")
    except OSError as error:
        remedy = _NO_LOOK.get(error.errno or 0, "")
        if not remedy or error.filename is None:
            raise
        _refuse(arguments[0], f"{error.filename}: {error.strerror}; {remedy}")


def _refuse(command: str, sentence: str) -> NoReturn:
    print(f"convoy {command}: {sentence}", file=sys.stderr)  # noqa: T201
    sys.exit(2)


def __getattr__(name: str) -> Any:
    """The client's names, imported when they are first used."""
    if name in __all__:
        for home in map(import_module, _HOMES):
            if hasattr(home, name):
                return getattr(home, name)
    raise AttributeError(f"module 'convoy' has no attribute {name!r}")


def __dir__() -> list[str]:
    """All names, those of the client before their first use too."""
    return sorted({*globals(), *__all__})


def _app() -> "typer.Typer":
    import typer
    from typer.core import TyperGroup

    class LazyCommands(TyperGroup):
        """Lists every command from the table and imports only the one that is asked for."""

        def resolve_command(self, ctx: Any, args: list[str]) -> Any:
            if args[0] in COMMANDS:
                self.commands[args[0]] = _load(args[0])
            return super().resolve_command(ctx, args)

    def options(
        version: Annotated[
            bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
        ] = False,
    ) -> None:
        """Takes a Keras CNN image classifier from training to production."""

    app = typer.Typer(cls=LazyCommands, callback=options, no_args_is_help=True, pretty_exceptions_enable=False)
    for name, command in COMMANDS.items():
        app.command(name, help=command.help)(lambda: None)
    return app


def _load(name: str) -> Any:
    """The real command, as Typer makes it from its function."""
    import typer

    module, _, function = COMMANDS[name].target.partition(":")
    app = typer.Typer(add_completion=False)
    app.command(name)(getattr(import_module(module), function))
    return typer.main.get_command(app)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        import typer

        typer.echo(f"convoy {version('convoy-serving')}")
        raise typer.Exit
