"""The run folder: what is kept, what is refused."""

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import shapes

from training.errors import ConfigInvalid, RunUnusable
from training.fitting.runs import Position, epochs_done, open_run
from training.presets import preset

DIGEST = "sha256:1"
ARRAYS = [np.arange(6, dtype=np.float32).reshape(2, 3), np.array(7, np.int64)]


@pytest.fixture
def folder(tmp_path):
    """A run that has done an epoch and a step."""
    with open_run(tmp_path / "run", shapes.config(), tmp_path / "models") as run:
        run.begin()
        run.save_best(0, ARRAYS[:1])
        run.save(position(), ARRAYS, DIGEST)
    return tmp_path / "run"


def position():
    history = {"loss": [0.5], "val_loss": [0.4]}
    return Position(epoch=1, step=1, loss=0.25, right={"class": 3}, history=history, best_epoch=0, seconds=9.0)


def test_what_was_saved_is_read_again(folder):
    with open_run(folder, None, None) as run:
        assert run.config == shapes.config()
        assert run.repository == folder.parent / "models"
        found, arrays = run.load(DIGEST)
        assert found == position()
        assert [array.tolist() for array in arrays] == [array.tolist() for array in ARRAYS]
        assert [array.dtype for array in arrays] == [array.dtype for array in ARRAYS]
        assert [array.tolist() for array in run.load_best(0)] == [ARRAYS[0].tolist()]


@pytest.mark.parametrize(
    ("epoch", "step", "words"),
    [
        (0, 7, "going on with epoch 1 of 36, 7 of whose 1,000 steps are done"),
        (1, 0, "epoch 1 is done, going on with epoch 2 of 36"),
        (4, 0, "epochs 1-4 are done, going on with epoch 5 of 36"),
        (35, 999, "epochs 1-35 are done, going on with epoch 36 of 36, 999 of whose 1,000 steps are done"),
    ],
)
def test_where_a_run_goes_on_is_said_in_numbers_from_one(epoch, step, words):
    assert Position(epoch=epoch, step=step).going_on(36, 1000) == words


def test_the_history_is_a_table(folder):
    with (folder / "history.csv").open() as file:
        assert list(csv.reader(file)) == [["epoch", "loss", "val_loss"], ["1", "0.5", "0.4"]]


def test_only_the_best_weights_are_kept(folder):
    with open_run(folder, None, None) as run:
        run.save_best(3, ARRAYS[:1])
        later = position()
        later.best_epoch = 3
        run.save(later, ARRAYS, DIGEST)
    assert [path.name for path in folder.glob("best-*")] == ["best-3.npz"]


def test_a_run_that_was_never_saved_begins_anew(tmp_path):
    with open_run(tmp_path / "run", shapes.config(), None) as run:
        run.begin()
    with open_run(tmp_path / "run", None, None) as run:
        assert run.load(DIGEST) is None
    assert epochs_done(tmp_path / "run") == 0


def test_a_run_whose_data_was_wrong_is_not_begun(tmp_path):
    with open_run(tmp_path / "run", shapes.config(epochs=3), None):
        pass
    assert epochs_done(tmp_path / "run") is None
    with open_run(tmp_path / "run", shapes.config(epochs=4), None) as run:
        assert run.config.epochs == 4


def test_another_configuration_is_refused_with_what_differs(folder):
    with (
        pytest.raises(ConfigInvalid, match=r"was begun with epochs 3, not 4; begin another .* or go on .*--resume"),
        open_run(folder, shapes.config(epochs=4), None),
    ):
        pass


def test_a_value_that_perhaps_nobody_gave_is_said_to_be_the_recipes(tmp_path):
    recipe = preset("files")
    with open_run(tmp_path / "run", recipe, None) as run:
        run.begin()
    with (
        pytest.raises(ConfigInvalid, match=r"was begun with epochs 30 \(the recipe's own\), not 5; "),
        open_run(tmp_path / "run", dataclasses.replace(recipe, epochs=5), None),
    ):
        pass


def test_other_data_is_refused(folder):
    with open_run(folder, None, None) as run, pytest.raises(RunUnusable, match="data has changed"):
        run.load("sha256:2")


def test_nothing_to_resume_is_said(tmp_path):
    with pytest.raises(ConfigInvalid, match="holds no run that could go on"), open_run(tmp_path, None, None):
        pass


def test_a_second_process_is_kept_out(folder):
    with (
        open_run(folder, None, None),
        pytest.raises(RunUnusable, match="another process is at the run in"),
        open_run(folder, None, None),
    ):
        pass


@pytest.mark.parametrize(("file", "content"), [("run.json", b"{"), ("run.json", b'{"config": {"epochs": 1}}')])
def test_a_damaged_description_is_said(folder, file, content):
    (folder / file).write_bytes(content)
    with pytest.raises(RunUnusable, match=r"run\.json is not of this release"), open_run(folder, None, None):
        pass


def test_a_damaged_checkpoint_is_said(folder):
    (folder / "checkpoint.npz").write_bytes(b"PK nothing")
    with open_run(folder, None, None) as run, pytest.raises(RunUnusable, match=r"checkpoint\.npz can't be read"):
        run.load(DIGEST)


def test_a_folder_that_cant_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(RunUnusable, match=r"run folder .* can't be written: Not a directory"),
        open_run(tmp_path / "file" / "run", shapes.config(), None),
    ):
        pass


def test_a_published_run_says_so_while_its_version_is_there(folder, tmp_path):
    version = tmp_path / "models" / "shapes" / "1"
    version.mkdir(parents=True)
    with open_run(folder, None, None) as run:
        assert run.published() is None
        run.mark_published(version)
        assert run.published() == Path(version)
        version.rmdir()
        assert run.published() is None
