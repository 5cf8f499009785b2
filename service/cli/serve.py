"""`convoy serve`: settings in, a server until SIGTERM."""

import asyncio

import typer

from service.cli.options import with_settings
from service.config import Settings


@with_settings
def serve(settings: Settings) -> None:
    """Serve the models of a repository over gRPC until SIGTERM or Ctrl-C, then answer what was accepted and stop."""
    from service.telemetry import logs

    logs.configure(settings.log_level, settings.log_format)
    if code := asyncio.run(_serve(settings)):
        raise typer.Exit(code)


async def _serve(settings: Settings) -> int:
    if settings.workers > 1:
        from service.workers.supervisor import Supervisor

        return await Supervisor(settings).run()
    from service.server import Server

    await Server(settings).run()
    return 0
