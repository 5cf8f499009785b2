import json
import re
from pathlib import Path

import msgspec
import pytest
from samples import manifest

import bundle.manifest
from bundle.manifest import Golden, Head, ManifestInvalid, Signature, TensorSpec, decode, encode, named_files


def edited(edit):
    """A sound manifest's JSON after `edit` has changed its tree."""
    tree = json.loads(encode(manifest()))
    edit(tree)
    return json.dumps(tree).encode()


def put(path, value):
    def edit(tree):
        *way, last = path
        for step in way:
            tree = tree[step]
        tree[last] = value

    return edit


def drop(*path):
    def edit(tree):
        *way, last = path
        for step in way:
            tree = tree[step]
        del tree[last]

    return edit


def test_what_was_written_is_read():
    assert decode(encode(manifest())) == manifest()


def test_the_json_is_for_people_too():
    text = encode(manifest()).decode()
    assert text.startswith('{\n  "schema_version": 1,\n')
    assert text.endswith("}\n")


def test_an_unknown_schema_is_refused_before_anything_else():
    message = "schema_version 2 is not known to this release, which reads 1; use the release that wrote it or publish"
    with pytest.raises(ManifestInvalid, match=message):
        decode(b'{"schema_version": 2, "everything": "else"}')


def test_unknown_fields_are_ignored_at_every_level():
    text = edited(lambda tree: (tree.update(colour="red"), tree["heads"][0].update(shape="round")))
    assert decode(text) == manifest()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (drop("schema_version"), "missing required field `schema_version`"),
        (drop("variants"), "missing required field `variants`"),
        (drop("signature", "outputs", 0, "dtype"), r"missing required field `dtype` - at `\$.signature.outputs\[0\]`"),
        (drop("golden", "outputs"), r"missing required field `outputs` - at `\$.golden`"),
        (put(("heads", 0, "labels"), 7), r"Expected `str`, got `int` - at `\$.heads\[0\].labels`"),
        (put(("heads", 0, "activation"), "relu"), r"Invalid enum value 'relu' - at `\$.heads\[0\].activation`"),
        (put(("preprocessing", 0, "channels"), 4), r"Invalid enum value 4 - at `\$.preprocessing\[0\].channels`"),
        (put(("preprocessing", 0, "height"), 0), r"Expected `int` >= 1 - at `\$.preprocessing\[0\].height`"),
        (put(("preprocessing", 0, "crop_fraction"), 1.5), r"<= 1.* - at `\$.preprocessing\[0\].crop_fraction`"),
        (put(("preprocessing", 0, "background"), 256), r"<= 255 - at `\$.preprocessing\[0\].background`"),
        (put(("variants", 0, "tolerance"), -1), r">= 0.* - at `\$.variants\[0\].tolerance`"),
        (put(("signature", "inputs", 0, "shape"), [None, "4"]), r"- at `\$.signature.inputs\[0\].shape\[1\]`"),
    ],
)
def test_a_missing_or_mistyped_field_is_named_with_its_path(edit, message):
    with pytest.raises(ManifestInvalid, match=message):
        decode(edited(edit))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (put(("variants",), []), "no variant is declared"),
        (put(("variants", 1, "name"), "fp32"), "variant 'fp32' is declared 2 times"),
        (put(("preprocessing", 0, "input"), "audio"), r"preprocessing names input 'audio', but .* \['image'\]"),
        (put(("heads", 0, "output"), "logits"), r"head 'class' names output 'logits', but .* \['probabilities'\]"),
        (put(("golden", "images"), {"audio": []}), "golden.images names input 'audio'"),
        (put(("preprocessing", 0, "width"), 5), r"makes uint8 \[None, 4, 5, 3\] for input 'image', but .*4, 4, 3"),
        (put(("signature", "inputs", 0, "dtype"), "float32"), "makes uint8 .* but the signature has float32"),
        (put(("signature", "outputs", 0, "shape"), [None]), r"output 'probabilities' .* must be \[batch, classes\]"),
        (put(("heads", 0, "labels"), "/etc/passwd"), "path '/etc/passwd' leaves the version's folder"),
        (put(("variants", 0, "path"), "../other/model.onnx"), "leaves the version's folder"),
        (put(("golden", "outputs"), "golden/../../x"), "leaves the version's folder"),
        (put(("files",), {"../x": {"sha256": "", "size": 0}}), "leaves the version's folder"),
        (put(("heads", 0, "labels"), "labels\0"), r"path 'labels\\x00' holds characters"),
    ],
)
def test_parts_that_contradict_each_other_are_named(edit, message):
    with pytest.raises(ManifestInvalid, match=message):
        decode(edited(edit))


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"schema_version": 1, "golden": "\xff"}', b'{"a":' + b"[" * 100_000],
)
def test_what_is_no_manifest_is_one_error(text):
    with pytest.raises(ManifestInvalid):
        decode(text)


def test_a_size_that_only_the_request_knows_fits_any_preprocessing():
    signature = Signature(
        inputs=(TensorSpec(name="image", dtype="uint8", shape=(None, None, None, 3)),),
        outputs=manifest().signature.outputs,
    )
    assert decode(encode(manifest(signature=signature))).signature == signature


def test_the_named_files_are_all_that_the_version_needs():
    assert set(named_files(manifest())) == {
        "labels/class.txt",
        "model.onnx",
        "saved_model.pb",
        "golden/0.png",
        "golden/1.png",
        "golden/outputs.npz",
    }


def test_a_manifest_without_heads_or_pictures_is_possible():
    bare = manifest(heads=(), preprocessing=(), golden=Golden(images={}, outputs="golden/outputs.npz"))
    assert decode(encode(bare)) == bare


def test_two_heads_may_share_an_output():
    head = manifest().heads[0]
    other = Head(name="grade", output=head.output, activation="sigmoid", labels="labels/grade.txt")
    assert decode(encode(manifest(heads=(head, other)))).heads == (head, other)


def test_a_manifest_from_before_calibration_says_that_nothing_is_known():
    older = json.loads(encode(manifest()))
    del older["statistics"]
    for name in ("temperature", "abstain_below"):
        del older["heads"][0][name]
    for variant in older["variants"]:
        del variant["agreement"]
    assert decode(json.dumps(older).encode()) == manifest()


def test_the_readme_describes_every_field():
    readme = (Path(bundle.manifest.__file__).parent / "README.md").read_text()
    described = re.findall(r"^\| `(\w+)` \|", readme, flags=re.MULTILINE)
    assert described == [field.name for field in msgspec.structs.fields(bundle.manifest.Manifest)]


MAP = TensorSpec(name="class_map", dtype="float32", shape=(None, 2, 2, 3))


def explained(*, outputs=(), explanations=(MAP,), head="class_map", explain="explain.onnx"):
    sound = manifest()
    signature = Signature(
        inputs=sound.signature.inputs, outputs=(*sound.signature.outputs, *outputs), explanations=explanations
    )
    heads = (msgspec.structs.replace(sound.heads[0], activation_map=head),)
    onnx, saved_model = sound.variants
    variants = (
        msgspec.structs.replace(onnx, explain=explain),
        msgspec.structs.replace(saved_model, explain=explain and "explain"),
    )
    return manifest(signature=signature, heads=heads, variants=variants)


def test_a_version_may_explain_itself():
    sound = explained()
    assert decode(encode(sound)) == sound
    assert "explain.onnx" in named_files(sound)
    assert "explain" not in named_files(sound)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"head": "elsewhere"}, "names activation map 'elsewhere', the signature has ['class_map']"),
        ({"explanations": (), "head": None}, "variant 'fp32' explains by 'explain.onnx', the signature has []"),
        ({"explain": None}, "variant 'fp32' explains by None, the signature has ['class_map']"),
        ({"outputs": (MAP,)}, "output 'class_map' is declared 2 times"),
        (
            {"explanations": (msgspec.structs.replace(MAP, shape=(None, 2, 2, 4)),)},
            "activation map 'class_map' of head 'class' must be [batch, rows, columns, 3], but it is [None, 2, 2, 4]",
        ),
        ({"explanations": (msgspec.structs.replace(MAP, shape=(None, 3)),)}, "must be [batch, rows, columns, 3]"),
        ({"explain": "../explain.onnx"}, "path '../explain.onnx' leaves the version's folder"),
    ],
)
def test_explanations_that_contradict_the_rest_are_named(wrong, message):
    with pytest.raises(ManifestInvalid, match=re.escape(message)):
        decode(encode(explained(**wrong)))
