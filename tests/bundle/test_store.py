"""What readers see of a repository: what is published, whole and unchanged, and nothing else."""

import os
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest
from samples import manifest, outputs, published

from bundle.errors import BundleInvalid, BundleNotFound
from bundle.manifest import encode
from bundle.store import Bundle, models, open_bundle, resolve, verify_files, versions


@pytest.fixture
def bundle(tmp_path) -> Bundle:
    return published(tmp_path, "fruit")


def rewrite(bundle: Bundle, **changes) -> Path:
    """Writes another manifest into the version's folder, as somebody with an editor would."""
    (bundle.path / "manifest.json").write_bytes(encode(manifest(**changes)))
    return bundle.path


def test_a_version_is_read_as_it_was_published(bundle):
    opened = open_bundle(bundle.path)
    assert opened == bundle
    assert (opened.name, opened.version) == ("fruit", 1)
    assert opened.labels("class") == ("Äpfel", "pears", "plums")
    assert opened.variant("fp32").path == "model.onnx"
    assert opened.golden_images("image") == [(bundle.path / f"golden/{i}.png").read_bytes() for i in range(2)]
    assert opened.golden_outputs()["probabilities"].shape == (2, 3)


def test_a_name_that_is_not_declared_is_told_those_that_are(bundle):
    for ask, message in (
        (lambda: bundle.variant("int8"), "no variant 'int8'; choose from 'fp32', 'saved_model'"),
        (lambda: bundle.labels("colour"), "no head 'colour'; choose from 'class'"),
        (lambda: bundle.golden_images("audio"), "no golden pictures for input 'audio'"),
    ):
        with pytest.raises(BundleInvalid, match=message):
            ask()


def test_relative_paths_and_links_know_the_model_and_the_version(bundle, monkeypatch):
    current = bundle.path.parent.parent / "current"
    current.symlink_to(bundle.path)
    monkeypatch.chdir(bundle.path)
    for path in (Path(), current, bundle.path / "golden" / ".."):
        opened = open_bundle(path)
        assert (opened.name, opened.version) == ("fruit", 1)


def test_a_linked_version_keeps_the_name_of_the_link(bundle, tmp_path):
    store = tmp_path / ".store"
    bundle.path.rename(store)
    bundle.path.symlink_to(store)
    assert versions(bundle.path.parent) == (1,)
    assert open_bundle(bundle.path).version == 1


def test_versions_are_the_published_ones_in_the_order_of_numbers(tmp_path):
    for number in (10, 9, 1):
        published(tmp_path, "fruit", number)
    model = tmp_path / "fruit"
    for name in ("0", "-1", "02", "1.5", "x", ".3", "٣", "99999999999999999999"):
        shutil.copytree(model / "1", model / name)
    (model / "4").mkdir()
    (model / "5").write_bytes(b"a file")
    (model / "6" / "manifest.json").mkdir(parents=True)
    assert versions(model) == (1, 9, 10)


def test_a_version_is_invisible_while_it_is_copied_and_visible_with_its_manifest(bundle, tmp_path):
    copy = bundle.path.parent / "2"
    copy.mkdir()
    for file in sorted(bundle.path.rglob("*"), key=lambda file: file.name == "manifest.json"):
        assert versions(copy.parent) == (1,)
        with pytest.raises(BundleNotFound, match=r"no version is published here: there is no manifest\.json"):
            open_bundle(copy)
        target = copy / file.relative_to(bundle.path)
        target.mkdir(exist_ok=True, parents=True) if file.is_dir() else shutil.copy(file, target)
    assert versions(copy.parent) == (1, 2)
    verify_files(open_bundle(copy))


def test_models_are_the_folders_with_a_published_version(tmp_path):
    for name in ("pears", "apples"):
        published(tmp_path, name)
    (tmp_path / "empty").mkdir()
    (tmp_path / "half" / "1").mkdir(parents=True)
    (tmp_path / "README.txt").write_bytes(b"a file")
    shutil.copytree(tmp_path / "pears", tmp_path / ".hidden")
    assert models(tmp_path) == ("apples", "pears")


def test_an_empty_repository_has_no_models_and_a_missing_one_is_an_error(tmp_path):
    assert models(tmp_path) == ()
    assert versions(tmp_path / "missing") == ()
    for path in (tmp_path / "missing", Path(__file__)):
        with pytest.raises(BundleNotFound, match="the repository can't be listed: N"):
            models(path)


def test_folders_that_may_not_be_listed_are_passed_over(bundle, tmp_path, elsewhere):
    (tmp_path / "lost+found").mkdir(mode=0)
    assert elsewhere("print(models(Path()))") == ["('fruit',)"]


def test_a_version_that_may_not_be_read_gives_its_reason(bundle, elsewhere):
    bundle.path.chmod(0)
    lines = elsewhere("print(versions(Path('fruit'))); open_bundle(Path('fruit/1'))")
    bundle.path.chmod(0o755)
    assert lines == ["(1,)", f"BundleInvalid: bundle {bundle.path}: manifest.json can't be read: Permission denied"]


def test_resolve_takes_a_version_a_model_or_a_repository_of_one_model(tmp_path):
    for number in (2, 10, 9):
        published(tmp_path, "fruit", number)
    highest = tmp_path / "fruit" / "10"
    assert resolve(tmp_path) == highest
    assert resolve(tmp_path / "fruit") == highest
    assert resolve(tmp_path / "fruit" / "2") == tmp_path / "fruit" / "2"


def test_resolve_says_what_is_there_instead(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"")
    for name in ("pears", "apples"):
        published(tmp_path / "two", name)
    for path, message in (
        (tmp_path / "missing", "there is no such folder"),
        (tmp_path / "file", "it is a file; give a folder"),
        (tmp_path / "empty", r"nothing is published here; a version is <model>/<number>/manifest\.json"),
        (tmp_path / "two", "there are 2 models, give the folder of one: 'apples', 'pears'"),
    ):
        with pytest.raises(BundleNotFound, match=message):
            resolve(path)


def test_many_names_do_not_make_a_long_sentence(tmp_path):
    for number in range(23):
        shutil.copytree(published(tmp_path / "one").path, tmp_path / "many" / f"model{number:02}" / "1")
    with pytest.raises(BundleNotFound, match=r"there are 23 models, .* 'model18', 'model19' and 3 more$"):
        resolve(tmp_path / "many")


def test_a_manifest_that_breaks_the_schema_is_named_with_the_field(bundle):
    for text, message in (
        (b'{"schema_version": 9}', r"manifest\.json: schema_version 9 is not known"),
        (b'{"schema_version": 1}', r"manifest\.json: .*missing required field `signature`"),
        (b"", r"manifest\.json: Input data was truncated"),
    ):
        (bundle.path / "manifest.json").write_bytes(text)
        with pytest.raises(BundleInvalid, match=message) as caught:
            open_bundle(bundle.path)
        assert str(caught.value).startswith(f"bundle {bundle.path}: ")


def test_a_folder_that_is_no_number_is_refused(bundle):
    renamed = bundle.path.rename(bundle.path.with_name("latest"))
    with pytest.raises(BundleInvalid, match="named by its number, as in models/flowers/3; rename it"):
        open_bundle(renamed)


def test_labels_must_be_as_many_as_the_classes(bundle):
    for text, count in (("one\ntwo\n", 2), ("one\ntwo\nthree\n\n", 4), ("", 1)):
        (bundle.path / "labels/class.txt").write_text(text)
        message = rf"labels/class\.txt has {count} labels, but output 'probabilities' has 3 classes"
        with pytest.raises(BundleInvalid, match=message):
            open_bundle(bundle.path)


def test_labels_with_or_without_a_last_newline_and_from_windows_are_read(bundle):
    for text in (b"a\nb\nc", b"a\nb\nc\n", b"a\r\nb\r\nc\r\n"):
        (bundle.path / "labels/class.txt").write_bytes(text)
        assert open_bundle(bundle.path).labels("class") == ("a", "b", "c")


def test_a_label_may_hold_what_other_tools_take_for_a_line_break(bundle):
    (bundle.path / "labels/class.txt").write_text("a\x0b\u2028b\nc\nd\n")
    assert bundle.labels("class")[0] == "a\x0b\u2028b"


def test_labels_that_are_not_utf8_are_refused(bundle):
    (bundle.path / "labels/class.txt").write_bytes(b"\xc4pfel\nb\nc\n")
    with pytest.raises(BundleInvalid, match=r"labels/class\.txt is not UTF-8"):
        open_bundle(bundle.path)


def test_an_unchanged_version_is_verified(bundle):
    (bundle.path / ".DS_Store").write_bytes(b"a desktop was here")
    (bundle.path / "variables" / "empty").mkdir()
    verify_files(bundle)


@pytest.mark.parametrize("name", ["model.onnx", "variables/variables.index", "golden/0.png", "labels/class.txt"])
def test_a_changed_file_is_named(bundle, name):
    file = bundle.path / name
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(BundleInvalid, match=f"{name} is not what was published: its SHA-256 differs; copy the version"):
        verify_files(bundle)


def test_a_half_copied_file_is_named_with_its_sizes(bundle):
    (bundle.path / "model.onnx").write_bytes(b"a mo")
    with pytest.raises(
        BundleInvalid, match=r"model\.onnx has 4 bytes, but its manifest says 7; copy the version again"
    ):
        verify_files(bundle)


def test_a_missing_file_is_named(bundle):
    (bundle.path / "variables/variables.index").unlink()
    with pytest.raises(BundleInvalid, match=r"variables/variables\.index is missing; copy the version again"):
        verify_files(bundle)


def test_an_extra_file_is_named(bundle):
    (bundle.path / "assets.extra").mkdir()
    (bundle.path / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"run me")
    with pytest.raises(BundleInvalid, match=r"assets\.extra/tf_serving_warmup_requests is not in its manifest; remove"):
        verify_files(bundle)


def test_a_pipe_in_place_of_a_file_is_refused_and_does_not_hang(bundle):
    (bundle.path / "model.onnx").unlink()
    os.mkfifo(bundle.path / "model.onnx")
    with pytest.raises(BundleInvalid, match=r"model\.onnx can't be read: it is not a plain file"):
        verify_files(bundle)


@pytest.mark.parametrize("name", ["manifest.json", "labels/class.txt"])
def test_a_pipe_does_not_hang_the_opening(bundle, name):
    (bundle.path / name).unlink()
    os.mkfifo(bundle.path / name)
    with pytest.raises(BundleInvalid, match=f"{name} can't be read: it is not a plain file"):
        open_bundle(bundle.path)


def test_a_manifest_without_digests_proves_nothing(bundle):
    with pytest.raises(BundleInvalid, match="its manifest holds no digests, so nothing can be verified; publish it"):
        verify_files(open_bundle(rewrite(bundle)))


def test_files_mounted_by_links_are_verified(bundle):
    """As Kubernetes mounts a volume of keys: each file is a link into a hidden folder."""
    hidden = bundle.path / "..2026_11_22"
    hidden.mkdir()
    for name in ("model.onnx", "manifest.json"):
        (bundle.path / name).rename(hidden / name)
        (bundle.path / name).symlink_to(Path("..2026_11_22") / name)
    verify_files(open_bundle(bundle.path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no archive", r"golden/outputs\.npz can't be read as \.npz"),
        (b"PK\x03\x04 and then nothing", r"golden/outputs\.npz can't be read as \.npz"),
        (outputs(logits=np.zeros((2, 3))), "holds 'logits', but the outputs are 'probabilities'"),
        (outputs(probabilities=np.zeros((3, 3))), "does not hold one sample for each of 2 pictures"),
        (outputs(probabilities=np.array([{"a": 1}, 2])), "can't be read as .npz: .*allow_pickle"),
    ],
)
def test_golden_outputs_that_can_not_be_used_are_refused(bundle, content, message):
    (bundle.path / "golden/outputs.npz").write_bytes(content)
    with pytest.raises(BundleInvalid, match=message):
        bundle.golden_outputs()


def test_a_missing_golden_file_is_named(bundle):
    (bundle.path / "golden/1.png").unlink()
    with pytest.raises(BundleInvalid, match=r"golden/1\.png can't be read: No such file"):
        bundle.golden_images("image")


def test_reading_changes_nothing(bundle):
    def state():
        return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in bundle.path.rglob("*")}

    before = state()
    verify_files(open_bundle(resolve(bundle.path.parent)))
    bundle.golden_outputs()
    assert state() == before
    assert stat.S_IMODE(bundle.path.stat().st_mode) & 0o055 == 0o055  # another user, as the server is, may read it


@pytest.mark.parametrize("name", [b"caf\xe9", b"two\nlines", b"bell\x07"])
def test_a_name_that_no_message_can_carry_is_passed_over(bundle, name):
    """Such a name would be an answer that can't be sent and a metric that can't be scraped."""
    repository = bundle.path.parent.parent
    shutil.copytree(bundle.path.parent, repository / os.fsdecode(name))
    assert models(repository) == ("fruit",)
