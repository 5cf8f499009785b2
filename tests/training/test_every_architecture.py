"""Each architecture from training to an answer of a server, at a small size: nothing between is replaced."""

import asyncio
import json
import re
import warnings

import keras
import numpy as np
import proving
import pytest
import shapes
from servers import LOCALHOST, serving

import convoy
from training import architectures, replay
from training.architectures import ARCHITECTURES, Architecture
from training.architectures.heads import outputs
from training.evaluate import decoded
from training.publish import train_and_publish
from training.tasks import FIXED_SEED

ASKED = 5


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    """What `transfer` needs besides: a backbone with weights from a file, which are random but kept."""
    file = tmp_path_factory.mktemp("weights") / "mobilenet.weights.h5"
    side = 3 * shapes.SIDE  # what pictures are enlarged to
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Keras, about its own arrays and the size
        keras.applications.MobileNet(include_top=False, weights=None, input_shape=(side, side, 3)).save_weights(file)
    return {"transfer": {"backbone": "MobileNet", "weights": str(file)}}


@pytest.fixture(scope="module")
def few():
    return shapes.dataset(train=64, validation=24, test=24)


@pytest.fixture(scope="module")
def version(tmp_path_factory, few, options, published):
    """A function that gives an architecture's published version, trained at its first call."""
    bundles = {"sequential": published}

    def publish(name):
        if name not in bundles:
            config = shapes.config(architecture=name, name=name, epochs=1, **options.get(name, {}))
            with proving.proved_here():
                bundles[name] = train_and_publish(config, few, tmp_path_factory.mktemp(name))
        return bundles[name]

    return publish


@pytest.mark.parametrize("name", ARCHITECTURES)
async def test_it_is_trained_published_served_and_asked(name, version, few):
    bundle = version(name)
    task = architectures.task_of(name, few)
    examples = task.examples(few.test, FIXED_SEED)[:ASKED]
    pixels = decoded(examples, few.test, bundle.manifest.preprocessing)
    expected = replay.open_format("saved_model", bundle.path)(pixels)

    def ask(port):
        with convoy.Client(f"{LOCALHOST}:{port}") as client:
            for row in range(ASKED):
                files = {name: few.test.encoded(int(indices[row])) for name, indices in examples.inputs.items()}
                picture = files if len(files) > 1 else files.popitem()[1]
                yield client.classify(picture, model=bundle.name)

    async with serving(bundle.path.parent.parent) as (server, _):
        answers = await asyncio.to_thread(lambda: list(ask(server.port)))
    assert [list(answer.heads) for answer in answers] == [[head.name for head in task.heads]] * ASKED
    for head in task.heads:
        scores = [
            [one.score for one in sorted(answer.heads[head.name], key=lambda one: one.index)] for answer in answers
        ]
        assert np.abs(np.array(scores) - expected[head.output]).max() < 1e-4
        assert {one.label for one in answers[0].heads[head.name]} == set(head.labels)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_its_report_leaves_nothing_out(name, version):
    page = (version(name).path / "report" / "index.html").read_text(encoding="utf-8")
    missing = set(re.findall(r'class="panel missing whole">([^<]*)<', page))
    assert missing <= {"Not one of the test examples was answered wrongly."}
    assert page.count("<section ") == 12


@pytest.mark.parametrize("name", ["multi_output", "siamese"])
def test_it_passes_verification_in_every_format(name, version, capsys):
    with pytest.raises(SystemExit) as exited:
        convoy.main(["verify", str(version(name).path)])
    assert exited.value.code == 0, capsys.readouterr()


@pytest.mark.parametrize("name", ["multi_output", "siamese"])
def test_the_report_has_every_format_batch_size_and_head(name, version, few):
    heads = [head.name for head in architectures.task_of(name, few).heads]
    report = version(name).path / "report"
    metrics = json.loads((report / "metrics.json").read_text())
    assert [(row["format"], row["head"], row["batch_size"]) for row in metrics["parity"]] == [
        (one, head, size) for one in ("onnx", "saved_model") for head in heads for size in (1, 3, 64)
    ]
    assert all(row["max_difference"] <= 1e-4 and 0 <= row["agreement"] <= 1 for row in metrics["parity"])
    assert list(metrics["heads"]) == heads
    main = metrics["heads"][heads[0]]["test_accuracy"]
    assert main == metrics["test_accuracy"] == version(name).manifest.metrics["test_accuracy"]


def test_other_heads_have_figures_and_files_of_their_own(version):
    bundle = version("multi_output")
    assert bundle.labels("coarse") == ("lines", "checks")
    assert 0 <= bundle.manifest.metrics["coarse_test_accuracy"] <= 1
    assert {path.name for path in (bundle.path / "report").glob("*coarse*")} >= {
        "predictions.coarse.csv",
        "confusion_matrix.coarse.png",
        "reliability.coarse.png",
        "explanations.coarse.png",
        "learning_curve_coarse_accuracy.png",
    }


@pytest.fixture
def asking(version, tmp_path, few, capsys, monkeypatch):
    """Runs `convoy classify` on two files and a server of the siamese model: exit code, standard output and error."""
    monkeypatch.setenv("COLUMNS", "200")
    for number, name in enumerate(("a.png", "b.png")):
        (tmp_path / name).write_bytes(few.test.encoded(number))
    (tmp_path / "broken.png").write_bytes(few.test.encoded(0)[:40])
    monkeypatch.chdir(tmp_path)

    async def run(*arguments):
        def main(port):
            with pytest.raises(SystemExit) as exited:
                convoy.main(["classify", *arguments, "--server", f"{LOCALHOST}:{port}"])
            return exited.value.code

        async with serving(version("siamese").path.parent.parent) as (server, _):
            code = await asyncio.to_thread(main, server.port)
        return code, *capsys.readouterr()

    return run


async def test_two_pictures_are_compared_from_the_command_line(asking):
    code, out, err = await asking("--input", "left=a.png", "--input", "right=b.png", "--json")
    answer = json.loads(out)
    assert answer["picture"] == "left=a.png right=b.png"
    assert {one["label"] for one in answer["heads"]["same"]} == {"same", "different"}
    assert (code, err) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["a.png"], "the call brings inputs [''], model 'siamese' takes ['left', 'right']; give each by its name"),
        (["--input", "left=a.png"], "brings inputs ['left'], model 'siamese' takes ['left', 'right']"),
        (["--input", "left"], "--input 'left' is not NAME=FILE, such as left=a.png"),
        (["--input", "left=a.png", "--input", "left=b.png"], "--input left is given twice"),
        (["--input", "left=a.png", "--input", "right=nothing.png"], "nothing.png: No such file"),
        (["a.png", "--input", "left=a.png"], "give pictures, or --input NAME=FILE for each input"),
        ([], "give pictures, or --input NAME=FILE for each input"),
    ],
)
async def test_what_a_model_with_two_inputs_needs_is_said(asking, arguments, sentence):
    code, out, err = await asking(*arguments)
    assert sentence in err
    assert (code, out, err.count("\n")) == (2, "", 1)


async def test_a_picture_that_cant_be_read_is_told_by_its_input(asking):
    code, out, _ = await asking("--input", "left=a.png", "--input", "right=broken.png", "--json")
    assert json.loads(out)["error"]["message"].startswith("input 'right': ")
    assert code == 1


@pytest.mark.usefixtures("brief", "proved_here")
def test_a_model_that_onnx_cant_hold_is_published_as_a_saved_model(tmp_path, few, monkeypatch):
    """One whose convolutions are grouped, which the converter can't translate."""

    def build(image_shape, heads, dropout):
        pixels = keras.Input(image_shape, dtype="uint8", name="image")
        features = keras.layers.Conv2D(4, 3)(keras.layers.Rescaling(1 / 255)(pixels))
        features = keras.layers.Conv2D(4, 3, groups=2)(features)
        pooled = keras.layers.GlobalAveragePooling2D()(features)
        return keras.Model({"image": pixels}, outputs(pooled, heads))

    monkeypatch.setitem(ARCHITECTURES, "grouped", Architecture(build))
    said = []
    bundle = train_and_publish(shapes.config(architecture="grouped", epochs=1), few, tmp_path, said.append)
    assert any("only a SavedModel, because ONNX has no operator for StatefulPartitionedCall" in one for one in said)
    (variant,) = bundle.manifest.variants
    assert (variant.format, variant.accuracy) == ("saved_model", bundle.manifest.metrics["test_accuracy"])
    assert not (bundle.path / "model.onnx").exists()
    metrics = json.loads((bundle.path / "report" / "metrics.json").read_text())
    assert {row["format"] for row in metrics["parity"]} == {"saved_model"}
