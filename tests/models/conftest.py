"""A registry over an empty folder."""

from collections.abc import AsyncIterator

import pytest
from watched import Watched


@pytest.fixture
async def watched(tmp_path) -> AsyncIterator[Watched]:
    watched = Watched(tmp_path)
    yield watched
    await watched.registry.close()
