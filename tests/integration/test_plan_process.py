"""The plan as users meet it: measured in the background of the first start, known to the next one."""

from pathlib import Path

from servers import ServeProcess, arguments, process


def ready(server: ServeProcess) -> str:
    """Why the plan with which the model got READY is the one."""
    why = server.logged("plan")["why"]
    server.logged("model state", state="READY")
    return str(why)


def test_the_first_start_measures_while_it_serves_and_the_next_one_knows(repository: Path, tmp_path: Path):
    """Both keep it where the user's cache is, since nobody gave them a folder."""
    flags, environment = arguments(repository, "--profile-seconds", "20"), {"XDG_CACHE_HOME": str(tmp_path)}
    with process(*flags, environment=environment) as server:
        assert ready(server) == "not measured yet"
        measured = server.logged("plan")
    assert measured["why"].startswith("measured ")
    assert [file.parent for file in tmp_path.rglob("*.json")] == [tmp_path / "convoy" / "plans"]
    with process(*flags, environment=environment) as server:
        assert ready(server) == measured["why"]
