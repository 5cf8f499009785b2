"""The whole way of a foreign model: published by the command, loaded by a real server, right on a JPEG.

What must be answered is computed by the original, asked through its own library, on pixels that NumPy scaled here.
"""

import io

import keras
import keras_models
import numpy as np
import onnx_models
import pytest
import tensorflow as tf
from PIL import Image
from servers import serving

from bundle import store
from bundle.preprocessing import decode
from protos.classifier.v1 import classifier_pb2 as pb
from protos.classifier.v1 import classifier_pb2_grpc

TORCH = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
CAFFE = np.array([103.939, 116.779, 123.68])


def jpeg():
    """A picture larger than any input, not square, in full colour."""
    random = np.random.default_rng(5)
    small = Image.fromarray(random.integers(0, 256, (7, 9, 3), np.uint8))
    file = io.BytesIO()
    small.resize((53, 31), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()


def by_keras(model, pixels):
    return keras.saving.load_model(model.source).predict(pixels.astype(np.float32), verbose=0)


def by_exported(_, pixels):
    return keras_models.sequential().predict(pixels.astype(np.float32), verbose=0)


def by_h5(model, pixels):
    loaded = keras.saving.load_model(model.source, compile=False)
    logits = loaded.predict(pixels[..., ::-1].astype(np.float32) - CAFFE.astype(np.float32), verbose=0)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def by_module(_, pixels):
    grey = pixels[..., 0].astype(np.float32) / 127.5 - 1
    module = keras_models.Grey()
    return module.probabilities(tf.constant(grey))["classes"].numpy()


def by_onnx(model, pixels):
    scaled = (pixels / 255 - TORCH[0]) / TORCH[1]
    return onnx_models.run(model.source, np.moveaxis(scaled, -1, 1).astype(np.float32))


ASKED = {"keras": by_keras, "h5": by_h5, "exported": by_exported, "module": by_module, "onnx": by_onnx}


def bundle_of(model):
    return store.open_bundle(model.repository / model.name / "1")


def original_answer(model, picture):
    [spec] = bundle_of(model).manifest.preprocessing
    return ASKED[model.name](model, decode(picture, spec)[np.newaxis])[0]


async def ask(channel, name, picture):
    request = pb.ClassifyRequest(model=pb.ModelSpec(name=name), inputs=[pb.Input(images=[picture])], top_k=3)
    reply = await classifier_pb2_grpc.ClassifierStub(channel).Classify(request)
    [classification] = reply.results[0].classifications
    scores = {scored.index: scored.score for scored in classification.classes}
    return np.array([scores[index] for index in range(3)])


@pytest.mark.parametrize("name", ASKED)
async def test_the_server_answers_as_the_original(foreign, name):
    """The server's own golden gate has passed before it says READY."""
    model, picture = foreign(name), jpeg()
    wanted = original_answer(model, picture)
    assert np.ptp(wanted) > 0.01  # else a wrong graph could be right
    async with serving(model.repository) as (_, channel):
        np.testing.assert_allclose(await ask(channel, name, picture), wanted, atol=1e-4)


async def test_the_saved_model_is_served_too(foreign):
    model, picture = foreign("module"), jpeg()
    async with serving(model.repository, runtime="tensorflow") as (_, channel):
        np.testing.assert_allclose(await ask(channel, "module", picture), original_answer(model, picture), atol=1e-4)


@pytest.mark.parametrize("name", ["keras", "onnx"])
def test_every_format_that_there_can_be_is_published(foreign, name):
    bundle = bundle_of(foreign(name))
    store.verify_files(bundle)
    formats = [variant.format for variant in bundle.manifest.variants]
    assert formats == (["onnx"] if name == "onnx" else ["onnx", "saved_model"])


def test_the_summary_says_what_was_read_decided_added_and_proved(foreign):
    model = foreign("h5")
    picture = model.repository / "h5" / "1" / bundle_of(model).manifest.golden.images["image"][0]
    lines = model.said.splitlines()
    assert lines[:2] == ["- starting TensorFlow", f"Keras model {model.source}"]
    assert "  takes   float32 NHWC, served as uint8 8x10 RGB" in lines
    assert "  --preprocess imagenet-caffe: RGB turned to BGR, then (x - [103.939, 116.779, 123.68]) / 1" in lines
    assert any(line.endswith("gets a softmax, as --activation says") for line in lines)
    assert any(line.startswith("  onnx gives the original's answers at batch 1, 3, 64: largest") for line in lines)
    assert lines[-4:] == [
        f"published {model.repository}/h5/1",
        f"report: {model.repository}/h5/1/report/index.html",
        f"next: convoy serve --repository {model.repository}",
        f"      convoy classify {picture} --server localhost:8500 --model h5",
    ]


@pytest.mark.parametrize("name", ["keras", "exported"])
def test_scaling_layers_inside_are_found(foreign, name):
    """Rescaling and Normalization together, in a Keras file and in an anonymous graph."""
    assert "pixels go in as 0..255, because its first steps (Mul, AddV2, Sub, RealDiv) turn" in foreign(name).said


def test_the_manifest_says_where_it_comes_from(foreign):
    config = bundle_of(foreign("onnx")).manifest.provenance.config
    assert (config["source"], config["source_kind"], config["layout"]) == ("m.onnx", "ONNX model", "NCHW")
    assert len(config["source_sha256"]) == 64
