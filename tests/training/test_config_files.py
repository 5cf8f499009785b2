"""Where a configuration comes from: a preset, a file, flags; and what is said of a wrong one."""

import pytest
import shapes

from training import configfile
from training.cli import _config
from training.errors import ConfigInvalid
from training.presets import preset


def test_flags_win_over_the_file_and_the_file_over_the_preset(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text('dataset = "fashion_mnist"\npreset = "quick"\nepochs = 9\nbatch_size = 7\n')
    config = _config(None, None, file, {"epochs": 2})
    quick = preset("fashion_mnist", "quick")
    assert (config.epochs, config.batch_size, config.architecture) == (2, 7, quick.architecture)
    assert config.learning_rate == quick.learning_rate


def test_a_python_file_says_everything(tmp_path):
    file = tmp_path / "config.py"
    file.write_text(
        "from dataclasses import replace\nfrom training.presets import preset\n"
        "config = replace(preset('fashion_mnist'), epochs=5 * 5)\n"
    )
    assert _config(None, None, file, {"seed": 3}).epochs == 25
    with pytest.raises(ConfigInvalid, match="leave out the dataset and --preset"):
        _config("fashion_mnist", None, file, {})


def test_files_get_the_name_of_their_folder(tmp_path):
    config = _config(None, None, None, {"data": str(tmp_path / "My flowers!")})
    assert (config.dataset, config.name, config.data) == ("files", "My_flowers", str(tmp_path / "My flowers!"))
    assert _config(None, None, None, {"data": str(tmp_path / "flowers.v2")}).name == "flowers.v2"
    assert _config(None, None, None, {"data": "lists/flowers.CSV"}).name == "flowers"
    assert _config("keras:cifar10", None, None, {}).name == "cifar10"
    assert _config(None, None, None, {"data": "/x.csv", "name": "mine"}).name == "mine"


def test_paths_hold_from_another_folder_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.h5").write_bytes(b"")
    config = _config(None, None, None, {"data": "flowers", "weights": "own.h5"})
    assert (config.data, config.weights) == (str(tmp_path / "flowers"), str(tmp_path / "own.h5"))
    (tmp_path / "config.py").write_text(
        "from dataclasses import replace\nfrom training.presets import preset\n"
        "config = replace(preset('files'), data='flowers', weights='none')\n"
    )
    config = _config(None, None, tmp_path / "config.py", {})
    assert (config.data, config.weights) == (str(tmp_path / "flowers"), "none")


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.toml", "epochs = ", "is not TOML"),
        ("a.toml", "epocs = 3", r"sets 'epocs', which is no setting; the settings are dataset, "),
        ("a.toml", 'dataset = "fashion_mnist"\nepochs = "3"', "epochs is '3', but it must be of type int"),
        ("a.toml", 'dataset = "fashion_mnist"\nflip = 1', "flip is 1, but it must be of type bool"),
        ("a.toml", 'dataset = "fashion_mnist"\nepochs = true', "epochs is True, but it must be of type int"),
        ("a.toml", 'dataset = "fashion_mnist"\nschedule = "sine"', "schedule is 'sine'; choose from cosine, constant"),
        ("a.toml", 'dataset = "fashion_mnist"\nchannels = 2', "channels is 2; choose from 1, 3"),
        ("a.toml", 'dataset = "fashion_mnist"\npreset = "best"', "there is no preset 'best'"),
        ("a.toml", 'preset = "quick"', "nothing to train on"),
        ("a.toml", "dataset = 3", "dataset is 3, but it must be of type str"),
        ("a.toml", "data = 3", "data is 3, but it must be of type str or nothing"),
        ("a.py", "config = 3", "must set `config` to a training.config.TrainingConfig"),
        ("a.py", "1 / 0", "failed: ZeroDivisionError"),
        ("a.py", "def", "failed: SyntaxError"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path, name, text, sentence):
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigInvalid, match=sentence) as caught:
        _config(None, None, tmp_path / name, {})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["none.toml", "none.py"])
def test_a_missing_file_is_said(tmp_path, name):
    with pytest.raises(ConfigInvalid, match=r"--config .* can't be read: No such file"):
        configfile.read(tmp_path / name)


def test_a_whole_number_will_do_for_a_float():
    assert shapes.config(rotate=10).rotate == 10
