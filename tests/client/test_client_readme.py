"""The client's README is run, and its table of errors is the table in the code."""

import re
from pathlib import Path

import grpc
import pytest

from convoy import Classification, ClassScore, Timing
from service.client import errors

ROOT = Path(__file__).parent.parent.parent
README = (Path(errors.__file__).parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
ROWS = re.findall(r"^\| `(\w+)` \| ([A-Z_, ]+[A-Z])", README, re.MULTILINE)


class Failed(grpc.RpcError):
    def __init__(self, code: grpc.StatusCode) -> None:
        self.status = code

    def code(self) -> grpc.StatusCode:
        return self.status

    def details(self) -> str:
        return "details"

    def trailing_metadata(self):
        return ()


@pytest.mark.parametrize("block", BLOCKS)
def test_the_examples_run(block, server, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("cat", "dog"):
        (tmp_path / f"{name}.jpg").write_bytes(f"a {name}".encode())
    assert "localhost:8500" in block
    exec(block.replace("localhost:8500", server.address), {})  # noqa: S102 - the README's own lines
    out = capsys.readouterr().out
    assert "a cat" in out
    assert "a dog" in out


def test_what_the_first_readme_says_is_printed_is_of_that_form():
    """Its figures are the demo's, which no test trains."""
    [line] = re.findall(r"print\(answer\)  # (.*)", (ROOT / "README.md").read_text())
    classes = (ClassScore("Ankle boot", 9, 0.9986), ClassScore("Sneaker", 7, 0.0012), ClassScore("Sandal", 5, 0.0001))
    assert str(Classification({"class": classes}, "fashion_mnist", 1, Timing(0, 0, 0))) == line


def test_the_table_of_errors_is_that_of_the_code():
    told: dict[str, str] = {}
    for name, codes in ROWS:
        for code in codes.split(", "):
            told.setdefault(code, name)
    for code in set(grpc.StatusCode) - {grpc.StatusCode.OK}:
        kind = type(errors.from_rpc(Failed(code), "here:1", 1.0)).__name__
        assert told.get(code.name, "ServerFailed") == kind, code
