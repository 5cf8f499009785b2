"""What the native transport leaves behind; how it answers is tested with the other one, through `asked`."""

import socket
import tempfile

import pytest
from servers import LOCALHOST, serving, settings

from service import doors
from service.errors import SettingsError
from service.server import Server


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Where temporary files go."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


async def test_a_start_up_mistake_leaves_no_folder(repository, temporary):
    with socket.create_server((LOCALHOST, 0)) as taken:
        for name in ("port", "metrics_port"):
            with pytest.raises(SettingsError, match="can't be opened"):
                Server(settings(repository, transport="native", **{name: taken.getsockname()[1]}))
    assert list(temporary.iterdir()) == []


async def test_a_server_that_has_stopped_leaves_no_folder(repository, temporary):
    async with serving(repository, transport="native"):
        pass
    assert list(temporary.iterdir()) == []


async def test_where_there_are_no_abstract_addresses_the_folder_goes_with_the_server(
    repository, temporary, monkeypatch
):
    monkeypatch.setattr(doors, "_has_abstract", lambda: False)
    async with serving(repository, transport="native"):
        assert len(list(temporary.iterdir())) == 1
    assert list(temporary.iterdir()) == []
