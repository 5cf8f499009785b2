"""The front door: its names, what it imports and when, and what it says when something is not installed."""

import errno
import importlib
import inspect
import logging
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import convoy
from service.client import errors, results

HEAVY = ["numpy", "PIL", "msgspec", "onnxruntime", "tensorflow", "keras", "prometheus_client", "pyarrow", "grpc_health"]
PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def plain(text: str) -> str:
    """Without the colours that some CI systems ask for."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_the_public_names():
    assert convoy.__all__ == [
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
    assert all(getattr(convoy, name).__name__ == name for name in convoy.__all__)
    assert set(convoy.__all__) <= set(python("import convoy; print(*dir(convoy))").split())
    with pytest.raises(AttributeError, match="no attribute 'Server'"):
        _ = convoy.Server


def test_every_result_and_error_of_the_client_is_public():
    here = {
        name
        for home in (results, errors)
        for name, value in vars(home).items()
        if inspect.isclass(value) and value.__module__ == home.__name__
    }
    assert here == set(convoy.__all__) - {"Client", "AsyncClient"}


def test_importing_and_the_help_load_nothing_heavy():
    code = "import sys, convoy\ntry: convoy.main(['--help'])\nexcept SystemExit: print(*sys.modules)"
    out, _, modules = python(code).rpartition("\n\n")
    assert not {*HEAVY, "grpc", "google"} & set(modules.split())
    assert all(command in out for command in convoy.COMMANDS)
    assert all(command.help in out for command in convoy.COMMANDS.values())


def test_the_client_and_its_commands_work_with_the_base_install():
    code = f"""
import sys
sys.modules.update(dict.fromkeys({HEAVY}))
import convoy
for name in convoy.__all__: getattr(convoy, name)
for command in ("classify", "models", "label"):
    try: convoy.main([command, "--help"])
    except SystemExit as exited: print(command, exited.code)
"""
    out = python(code)
    assert "classify 0" in out
    assert "models 0" in out
    assert "label 0" in out


@pytest.mark.parametrize("name", convoy.COMMANDS)
def test_every_command_can_be_loaded_and_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as exited:
        convoy.main([name, "--help"])
    assert exited.value.code == 0
    assert f"Usage: convoy {name}" in plain(capsys.readouterr().out)


def test_every_extra_that_a_remedy_names_exists():
    extras = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]
    assert {command.extra for command in convoy.COMMANDS.values()} - {None} <= set(extras)


@pytest.mark.parametrize("where", ["import not_installed_here.part", "def train():\n    import not_installed_here"])
def test_a_command_without_its_extra_says_what_to_install(where, tmp_path, monkeypatch, capsys):
    lines = where if where.startswith("def") else f"{where}\ndef train(): pass"
    (tmp_path / "needy.py").write_text(lines)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(convoy.COMMANDS, "train", convoy.COMMANDS["train"]._replace(target="needy:train"))
    with pytest.raises(SystemExit) as exited:
        convoy.main(["train"])
    assert exited.value.code == 2
    sentence = (
        "convoy train: not_installed_here is not installed; run pip install '.[training]' in a checkout of Convoy\n"
    )
    assert capsys.readouterr() == ("", sentence)
    sys.modules.pop("needy", None)
    importlib.invalidate_caches()


def test_a_module_of_our_own_that_is_missing_is_a_fault_and_not_a_remedy(monkeypatch):
    monkeypatch.setitem(convoy.COMMANDS, "train", convoy.COMMANDS["train"]._replace(target="training.missing:train"))
    with pytest.raises(ModuleNotFoundError, match=r"training\.missing"):
        convoy.main(["train"])


LONG = "a" * 300


@pytest.fixture
def own_log(monkeypatch):
    """What a command does to the log of this process is undone: it would write to a stream that is closed by then."""
    monkeypatch.setattr(logging.root, "handlers", [])
    before = logging.root.level
    yield
    logging.root.setLevel(before)


@pytest.mark.usefixtures("own_log")
@pytest.mark.parametrize(
    "arguments",
    [
        ["show", "grad-cam", LONG, "picture.png"],
        ["publish", LONG, "--name", "x", "--labels", "labels.txt"],
        ["report", LONG],
        ["verify", LONG],
        ["plan", LONG],
        ["batch", "--model", ".", "--input", LONG, "--output", "out.parquet"],
        ["serve", "--repository", LONG],
        ["classify", LONG, "--model", "x"],
        ["train", "--data", LONG],
        ["train", "--data", f"{LONG}.csv"],
        ["train", "fashion_mnist", "--architecture", "transfer", "--weights", LONG],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_path_that_is_too_long_is_a_mistake_in_every_command(arguments, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    with pytest.raises(SystemExit) as exited:
        convoy.main(arguments)
    sentence = capfd.readouterr().err.splitlines()[-1]
    assert exited.value.code == 2
    assert sentence.startswith(f"convoy {arguments[0]}: ")
    assert LONG in sentence
    assert "too long" in sentence.lower()


@pytest.fixture
def failing(tmp_path, monkeypatch):
    """Lets a command end with an error of the operating system; root may look at everything."""

    def fail(code, words):
        (tmp_path / "failing.py").write_text(f"def train(): raise OSError({code}, {words!r}, 'model.onnx')")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setitem(convoy.COMMANDS, "train", convoy.COMMANDS["train"]._replace(target="failing:train"))

    yield fail
    sys.modules.pop("failing", None)


def test_a_path_that_may_not_be_looked_at_is_a_mistake_too(failing, capsys):
    failing(errno.EACCES, "Permission denied")
    with pytest.raises(SystemExit) as exited:
        convoy.main(["train"])
    assert exited.value.code == 2
    assert capsys.readouterr().err == "convoy train: model.onnx: Permission denied; give one that you may read\n"


def test_another_fault_of_the_disk_keeps_its_traceback(failing):
    failing(errno.EIO, "Input/output error")
    with pytest.raises(OSError, match="Input/output error"):
        convoy.main(["train"])


def test_the_version(capsys):
    with pytest.raises(SystemExit) as exited:
        convoy.main(["--version"])
    assert (exited.value.code, capsys.readouterr().out) == (0, f"convoy {version('convoy-serving')}\n")


def test_an_unknown_command_suggests_one(capsys):
    with pytest.raises(SystemExit) as exited:
        convoy.main(["clasify"])
    assert exited.value.code == 2
    assert "Did you mean 'classify'" in plain(capsys.readouterr().err)


def test_the_command_is_installed():
    done = subprocess.run([Path(sys.executable).parent / "convoy", "--version"], capture_output=True, check=True)
    assert done.stdout.startswith(b"convoy ")
