"""`convoy serve`: settings in, a server until SIGTERM."""

import asyncio

import typer

from service.cli.options import with_settings
from service.config import Settings
from service.errors import SettingsError


@with_settings
def serve(settings: Settings) -> None:
    """Serve the models of a repository over gRPC until SIGTERM or Ctrl-C, then answer what was accepted and stop."""
    from service.server import Server
    from service.telemetry import logs

    logs.configure(settings.log_level, settings.log_format)

    async def main() -> None:
        await Server(settings).run()

    try:
        asyncio.run(main())
    except SettingsError as error:
        typer.echo(f"convoy serve: {error}", err=True)
        raise typer.Exit(2) from error
