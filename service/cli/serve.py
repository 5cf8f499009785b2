"""`convoy serve`: settings in, a server until SIGTERM."""

import asyncio

from service.cli.options import with_settings
from service.config import Settings


@with_settings
def serve(settings: Settings) -> None:
    """Serve the models of a repository over gRPC until SIGTERM or Ctrl-C, then answer what was accepted and stop."""
    from service.server import Server
    from service.telemetry import logs

    logs.configure(settings.log_level, settings.log_format)

    async def main() -> None:
        await Server(settings).run()

    asyncio.run(main())
