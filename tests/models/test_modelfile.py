"""A model's own file: taken whole, or one sentence that says why not."""

import pytest

from service.errors import SettingsError
from service.models import modelfile
from service.models.modelfile import MOST_BYTES, ModelFile
from service.models.policy import Policy


@pytest.mark.parametrize(
    ("text", "file"),
    [
        ("", ModelFile()),
        ("[versions]\n[labels]\n", ModelFile()),
        ("[plan]\nthreads = 2\n", ModelFile(plan={"threads": 2})),
        ('[versions]\npolicy = "latest:2"\n', ModelFile(Policy(latest=2))),
        ('[labels]\nstable = 3\n"v1.2" = 4\n', ModelFile(labels={"stable": 3, "v1.2": 4})),
    ],
)
def test_what_a_file_says(tmp_path, text, file):
    (tmp_path / "convoy.toml").write_text(text)
    assert modelfile.read(tmp_path) == file


def test_no_file_leaves_everything_to_the_server(tmp_path):
    assert modelfile.read(tmp_path) == ModelFile()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"[versions", " is not TOML: "),
        (b"\xff\xfe", " is not TOML: "),
        (
            b"[label]\nstable = 3\n",
            ": it has ['label'], which is not known; its tables are ['labels', 'plan', 'versions']",
        ),
        (b"versions = 3\n", ": versions is 3, it must be a table: [versions]"),
        (b'[versions]\npolcy = "all"\n', ": [versions] has ['polcy'], which is not known; its only key is policy"),
        (b"[versions]\npolicy = 2\n", ": [versions] policy is 2, it must be text: latest:N, all"),
        (b'[versions]\npolicy = "newest"\n', ": version policy 'newest' is not known; it is one of latest:N"),
        (b'[labels]\nstable = "3"\n', ": [labels] stable is '3', it must be a version's number"),
        (b"[labels]\nstable = true\n", ": [labels] stable is True, it must be a version's number"),
        (b"[labels]\nstable = 0\n", ": [labels] stable is 0, it must be a version's number"),
        (b"[labels]\nv1.2 = 3\n", ": [labels] v1 is {'2': 3}, it must be a version's number; a label with a dot needs"),
        (b'[labels]\n"a b" = 3\n', ": 'a b' can't be a version label: it must be 1 to 128 of "),
        (b"[labels]\n7 = 3\n", ": '7' can't be a version label: it must be 1 to 128 of "),
        (
            b"[plan]\nthread = 1",
            ": [plan] sets 'thread'; it may set engine, variant, threads, instances, max_batch_size, latency_target",
        ),
        (b"[plan]\nthreads = 0", ": [plan] threads is 0, it must be a whole number of at least 1"),
        (b"[plan]\nthreads = true", ": [plan] threads is True, it must be a whole number"),
        (b'[plan]\ninstances = "2"', ": [plan] instances is '2', it must be a whole number"),
        (b"[plan]\nlatency_target = 0", ": [plan] latency_target is 0, it must be milliseconds from 0.1"),
        (b"[plan]\nlatency_target = true", ": [plan] latency_target is True, it must be milliseconds"),
        (b"[plan]\nvariant = 8", ": [plan] variant is 8, it must be a text"),
        (b'[plan]\nengine = "tvm"', ": [plan] engine is 'tvm'; it is one of onnx, openvino, tensorflow"),
        (b"#" * (MOST_BYTES + 1), " is over 65,536 bytes; a model's file has a few lines"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_the_file(tmp_path, content, sentence):
    (tmp_path / "convoy.toml").write_bytes(content)
    with pytest.raises(SettingsError) as refused:
        modelfile.read(tmp_path)
    assert str(refused.value).startswith(f"{tmp_path / 'convoy.toml'}{sentence}")
    assert "\n" not in str(refused.value)


def test_a_file_that_can_not_be_read_is_said_so(tmp_path):
    (tmp_path / "convoy.toml").mkdir()
    with pytest.raises(SettingsError, match=r"convoy\.toml can't be read: Is a directory"):
        modelfile.read(tmp_path)
