"""How versions come in: as a whole, each under a number of its own, or not at all."""

import errno
import hashlib
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from samples import manifest, published, stage

from bundle.errors import PublishError
from bundle.manifest import Variant
from bundle.publishing import publish, staging
from bundle.store import models, open_bundle, resolve, verify_files, versions


def left_behind(repository):
    return sorted(path.name for path in repository.iterdir() if path.name.startswith("."))


def test_a_published_version_is_whole_and_verified(tmp_path):
    bundle = published(tmp_path / "made" / "on" / "demand")
    assert bundle == open_bundle(bundle.path)
    verify_files(bundle)
    assert bundle.path == tmp_path / "made" / "on" / "demand" / "fruit" / "1"
    assert left_behind(tmp_path / "made" / "on" / "demand") == []


def test_the_manifest_holds_the_digest_of_every_other_file(tmp_path):
    bundle = published(tmp_path)
    files = {str(path.relative_to(bundle.path)): path for path in bundle.path.rglob("*") if path.is_file()}
    assert files.keys() == bundle.manifest.files.keys() | {"manifest.json"}
    for name, digest in bundle.manifest.files.items():
        content = files[name].read_bytes()
        assert (digest.sha256, digest.size) == (hashlib.sha256(content).hexdigest(), len(content))


def test_versions_count_up_and_never_take_a_number_that_was_used(tmp_path):
    assert published(tmp_path).version == 1
    assert published(tmp_path, version=7).version == 7
    (tmp_path / "fruit" / "9").mkdir()  # somebody copies a version to here
    assert published(tmp_path).version == 10
    assert versions(tmp_path / "fruit") == (1, 7, 10)
    assert published(tmp_path, "other").version == 1


def test_the_staging_folder_is_not_seen_by_readers(tmp_path):
    with staging(tmp_path, "fruit") as folder:
        stage(folder)
        assert folder.parent == tmp_path
        assert models(tmp_path) == ()
    assert list(tmp_path.iterdir()) == []


def test_the_staging_folder_goes_when_building_fails(tmp_path):
    def build():
        with staging(tmp_path, "fruit") as folder:
            stage(folder)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        build()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [True, False])
def test_an_existing_version_is_never_replaced(tmp_path, content):
    taken = tmp_path / "fruit" / "3"
    taken.mkdir(parents=True)
    if content:
        (taken / "model.onnx").write_bytes(b"precious")
    before = sorted(taken.rglob("*"))
    with pytest.raises(PublishError, match="version 3 of model 'fruit' exists; choose another number or none"):
        published(tmp_path, version=3)
    assert sorted(taken.rglob("*")) == before
    assert versions(tmp_path / "fruit") == ()
    assert left_behind(tmp_path) == []


def test_publishers_at_the_same_time_get_a_version_each(tmp_path):
    count, start = 8, threading.Barrier(8)

    def one(number):
        with staging(tmp_path, "fruit") as folder:
            stage(folder)
            (folder / "who").write_text(str(number))
            start.wait()
            return publish(folder, manifest(), tmp_path, "fruit")

    with ThreadPoolExecutor(count) as pool:
        bundles = list(pool.map(one, range(count)))
    assert sorted(bundle.version for bundle in bundles) == list(range(1, count + 1))
    assert [(bundle.path / "who").read_text() for bundle in bundles] == [str(number) for number in range(count)]
    for bundle in bundles:
        verify_files(bundle)


@pytest.mark.parametrize("version", [None, 1])
def test_a_number_that_is_taken_at_the_last_moment(tmp_path, monkeypatch, version):
    """Another publisher comes between the look at the numbers and the rename."""
    real = os.rename

    def late(source, target):
        monkeypatch.setattr(os, "rename", real)
        published(tmp_path)
        real(source, target)

    monkeypatch.setattr(os, "rename", late)
    if version is None:
        assert published(tmp_path).version == 2
    else:
        with pytest.raises(PublishError, match="version 1 of model 'fruit' exists"):
            published(tmp_path, version=version)
    assert versions(tmp_path / "fruit") == ((1, 2) if version is None else (1,))


@pytest.mark.parametrize("moment", ["os.fsync", "os.rename"])
def test_a_publisher_that_is_killed_leaves_nothing_visible(tmp_path, elsewhere, moment):
    code = f"""
import os, signal
{moment} = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)
published(Path())
"""
    elsewhere(code, exit_status=-signal.SIGKILL)
    assert left_behind(tmp_path) != []
    assert models(tmp_path) == ()
    assert versions(tmp_path / "fruit") == ()
    assert published(tmp_path).version == 1
    assert resolve(tmp_path) == tmp_path / "fruit" / "1"
    assert left_behind(tmp_path) == []


def test_what_a_living_publisher_builds_is_left_alone(tmp_path):
    with staging(tmp_path, "fruit") as folder:
        stage(folder)
        before = sorted(folder.rglob("*"))
        assert published(tmp_path).version == 1
        assert published(tmp_path, "other").version == 1
        assert sorted(folder.rglob("*")) == before
        assert publish(folder, manifest(), tmp_path, "fruit").version == 2
    assert left_behind(tmp_path) == []


def test_a_staging_folder_whose_builder_is_not_known_is_left_alone(tmp_path):
    """Of another release, or of somebody's own making."""
    (tmp_path / ".staging-fruit-0").mkdir()
    published(tmp_path)
    assert left_behind(tmp_path) == [".staging-fruit-0"]


@pytest.mark.parametrize("host", ["another", ""])
def test_what_a_builder_on_another_host_may_have_is_left_alone(tmp_path, host):
    """Its lock may not be seen here."""
    (tmp_path / ".staging-fruit-0").mkdir()
    (tmp_path / ".staging-fruit-0.lock").write_text(host)
    published(tmp_path)
    assert left_behind(tmp_path) == [".staging-fruit-0", ".staging-fruit-0.lock"]


def test_where_locks_do_not_work_nothing_is_removed(tmp_path, monkeypatch):
    def unsupported(*_arguments):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", unsupported)
    with staging(tmp_path, "fruit") as folder:
        stage(folder)
        assert published(tmp_path).version == 1
        assert publish(folder, manifest(), tmp_path, "fruit").version == 2
    assert left_behind(tmp_path) == []


def test_a_look_tells_where_nothing_can_be_published_and_leaves_no_trace(tmp_path, elsewhere):
    (tmp_path / "file").write_text("")
    (tmp_path / "models").mkdir(mode=0o555)
    for place, reason in {"file/models": "file: Not a directory", "models/new": "models: Permission denied"}.items():
        assert elsewhere(f"check_place(Path({place!r}), 'fruit')") == [
            f"PublishError: model 'fruit' can't be published to {place}: {reason}; nothing of it is visible"
        ]
    assert elsewhere("check_place(Path('not/made/yet'), 'fruit')") == []
    assert elsewhere("check_place(Path('fresh'), '../fruit')")[0].startswith("PublishError: model name")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "models"]


def test_a_read_only_repository_is_one_sentence(tmp_path, elsewhere):
    (tmp_path / "models").mkdir(mode=0o555)
    lines = elsewhere("published(Path('models'))")
    assert lines == [
        "PublishError: model 'fruit' can't be published to models: Permission denied; nothing of it is visible"
    ]


def test_a_model_folder_that_may_not_be_written_is_one_sentence(tmp_path, elsewhere):
    (tmp_path / "fruit").mkdir(mode=0o555)
    lines = elsewhere("published(Path())")
    assert lines == ["PublishError: model 'fruit' can't be published to .: Permission denied; nothing of it is visible"]
    assert left_behind(tmp_path) == []


def test_a_disk_that_is_full_is_one_sentence(tmp_path, elsewhere):
    """A limit on files' sizes makes the manifest's write fail as a full disk does."""
    code = """
import resource
with staging(Path(), "fruit") as folder:
    stage(folder)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
    publish(folder, manifest(), Path(), "fruit")
"""
    lines = elsewhere(code)
    assert lines == ["PublishError: model 'fruit' can't be published to .: File too large; nothing of it is visible"]
    assert left_behind(tmp_path) == []
    assert models(tmp_path) == ()


def test_a_repository_that_is_a_file_is_one_sentence(tmp_path):
    (tmp_path / "models").write_bytes(b"")
    with pytest.raises(PublishError, match=r"'fruit' can't be published to .*models: Not a directory; nothing of"):
        published(tmp_path / "models")


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "-x", "a/b", "a b", "ä", "a\n", "x" * 129])
def test_names_that_are_not_possible_are_refused_before_anything_is_written(tmp_path, name):
    with pytest.raises(PublishError, match="is not possible; use up to 128 letters, digits, dots, dashes and under"):
        published(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a", "ResNet-50_v2.1", "7", "x" * 128])
def test_names_that_are_possible(tmp_path, name):
    assert published(tmp_path, name).name == name
    assert models(tmp_path) == (name,)


@pytest.mark.parametrize("version", [0, -1, 10**18])
def test_versions_that_are_not_possible_are_refused(tmp_path, version):
    with pytest.raises(PublishError, match=f"version {version} of model 'fruit' is not possible; give 1 to 9"):
        published(tmp_path, version=version)
    assert models(tmp_path) == ()


def test_after_the_last_number_there_is_none(tmp_path):
    published(tmp_path, version=10**18 - 1)
    with pytest.raises(PublishError, match=f"version {10**18} of model 'fruit' is not possible"):
        published(tmp_path)


@pytest.mark.parametrize("name", ["model.onnx", "saved_model.pb", "labels/class.txt", "golden/1.png"])
def test_a_file_that_the_manifest_names_must_be_staged(tmp_path, name):
    with staging(tmp_path, "fruit") as folder:
        stage(folder)
        (folder / name).unlink()
        with pytest.raises(PublishError, match=f"the manifest names '{name}', but no such file is staged"):
            publish(folder, manifest(), tmp_path, "fruit")
    assert models(tmp_path) == ()


def test_a_manifest_that_could_not_be_read_again_is_not_published(tmp_path):
    wrong = Variant(name="fp32", format="onnx", path="../elsewhere.onnx")
    with staging(tmp_path, "fruit") as folder:
        stage(folder)
        with pytest.raises(PublishError, match=r"can't be published: path '\.\./elsewhere\.onnx' leaves"):
            publish(folder, manifest(variants=(wrong,)), tmp_path, "fruit")
        (folder / "labels/class.txt").write_text("one\n")
        with pytest.raises(PublishError, match=r"labels/class\.txt has 1 labels, but .* 3 classes"):
            publish(folder, manifest(), tmp_path, "fruit")
    assert models(tmp_path) == ()


def test_a_staged_link_is_refused(tmp_path):
    (tmp_path / "weights").write_bytes(b"elsewhere")
    with staging(tmp_path / "models", "fruit") as folder:
        stage(folder)
        (folder / "more").symlink_to(tmp_path / "weights")
        with pytest.raises(PublishError, match=r"more is staged as a link, .*; stage a copy"):
            publish(folder, manifest(), tmp_path / "models", "fruit")
    assert (tmp_path / "weights").read_bytes() == b"elsewhere"


def test_a_disk_that_is_full_while_a_version_is_built_is_said(tmp_path):
    def build(*error):
        with staging(tmp_path, "fruit") as folder:
            stage(folder)
            raise OSError(*error)

    full = errno.ENOSPC, os.strerror(errno.ENOSPC)
    with pytest.raises(PublishError, match=r"model 'fruit' can't be published to .*: No space left on device; nothing"):
        build(*full, str(tmp_path / "file"))
    with pytest.raises(PublishError, match=r": /elsewhere/a\.png: No such file or directory; nothing of it is visible"):
        build(errno.ENOENT, os.strerror(errno.ENOENT), "/elsewhere/a.png")
    assert list(tmp_path.iterdir()) == []
