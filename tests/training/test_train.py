import keras
import numpy as np
import photos
import pytest
import shapes
import tensorflow as tf

from training.cli import _config, file_options
from training.datasets import Dataset, Split, load
from training.errors import ConfigInvalid, TrainingDiverged
from training.fitting.rates import learning_rates
from training.fitting.runs import open_run
from training.train import Logging, train


@pytest.fixture(scope="module")
def trained(dataset):
    return train(shapes.config(), dataset)


def weights(trained):
    return [weight.tolist() for weight in trained.model.get_weights()]


def test_it_learns(trained, dataset):
    answers = trained.model.predict({"image": dataset.test.images}, verbose=0)["probabilities"].argmax(axis=1)
    assert (answers == dataset.test.labels).mean() > 0.9


def test_the_same_seed_gives_the_same_weights(trained, dataset):
    assert weights(train(shapes.config(), dataset)) == weights(trained)


def test_the_same_folder_gives_the_same_weights_wherever_it_lies(tmp_path):
    """Read anew, by threads, into another cache, through a recipe's splits and seed."""

    def trained_on(place):
        folder = photos.make(tmp_path / place / "shapes", bad=False)
        config = _config(None, "quick", None, {"data": str(folder), "epochs": 2, "height": 16, "width": 16})
        return train(config, load("files", folder, options=file_options(config), cache=tmp_path / place / "cache"))

    one, other = map(trained_on, ("here", "there"))
    assert weights(one) == weights(other)
    assert one.history == other.history


def test_the_history_has_a_value_an_epoch(trained):
    assert set(trained.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert {len(values) for values in trained.history.values()} == {3}


def test_the_best_epochs_weights_are_kept(dataset):
    """A learning rate that spoils the model again: its last epoch is not its best."""
    trained = train(shapes.config(epochs=6, learning_rate=0.3, warmup=0.9), dataset)
    losses = trained.history["val_loss"]
    assert trained.best_epoch == int(np.argmin(losses)) < len(losses) - 1
    assert judged(trained.model, dataset.validation)[0] == pytest.approx(losses[trained.best_epoch], rel=1e-4)


def judged(model, split):
    """Loss and accuracy, worked out by Keras."""
    labels = keras.utils.to_categorical(split.labels, 3)
    model.compile(loss={"probabilities": "categorical_crossentropy"}, metrics={"probabilities": ["accuracy"]})
    return model.evaluate({"image": split.images}, {"probabilities": labels}, verbose=0)


def test_divergence_stops_at_once_and_is_said_with_step_and_learning_rate(dataset):
    with pytest.raises(TrainingDiverged, match=r"nan at step [23], in epoch 1 of 1000, .*rate, which is 1e\+30"):
        train(shapes.config(epochs=1000, learning_rate=1e30, warmup=0.0), dataset)


def test_divergence_before_the_first_checkpoint_promises_none(tmp_path, dataset):
    config = shapes.config(learning_rate=1e30, warmup=0.0)
    with (
        open_run(tmp_path, config, None) as run,
        pytest.raises(TrainingDiverged, match="so nothing is published; train anew with a lower learning rate"),
    ):
        train(config, dataset, Logging(run=run))


def test_the_last_good_checkpoint_outlives_divergence(tmp_path, dataset, monkeypatch):
    """Rates that are usual for an epoch and then lose the loss: what was saved before holds finite numbers only."""
    config = shapes.config(epochs=3, limit=320)
    calm = learning_rates(config, 10)
    monkeypatch.setattr(
        "training.train.learning_rates", lambda _, steps, *__: np.append(calm, np.full(steps - 10, 1e30))
    )
    with open_run(tmp_path, config, None) as run, pytest.raises(TrainingDiverged) as caught:
        train(config, dataset, Logging(run=run, checkpoint_seconds=0))
    assert "in epoch 2 of 3" in str(caught.value)
    assert f"the last good checkpoint is in {tmp_path}" in str(caught.value)
    with open_run(tmp_path, config, None) as run:
        position, arrays = run.load(dataset.digest)
    assert (position.epoch, position.step) == (1, 0)
    assert len(arrays) > 20
    assert all(np.isfinite(array).all() for array in arrays)


def test_a_run_of_one_step_trains(dataset):
    trained = train(shapes.config(epochs=1, limit=7, warmup=0.99), dataset)
    assert len(trained.history["loss"]) == 1


def test_patience_ends_a_run_that_gets_no_better(dataset):
    config = shapes.config(epochs=30, patience=2, schedule="constant", learning_rate=0.3, warmup=0.0, limit=64)
    trained = train(config, dataset)
    epochs = len(trained.history["val_loss"])
    assert trained.best_epoch + 3 == epochs < 30


def test_half_precision_learns_and_gives_a_model_of_float32(dataset):
    trained = train(shapes.config(precision="mixed_bfloat16"), dataset)
    assert {layer.compute_dtype for layer in trained.model.layers} <= {"float32", "uint8"}
    assert {weight.dtype for weight in trained.model.weights} == {"float32"}
    _, accuracy = judged(trained.model, dataset.test)
    assert accuracy > 0.9
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize(
    "settings",
    [
        {"label_smoothing": 0.1, "shift": 1, "cutout": 3},
        {"mixup": 0.3, "brightness": 0.1, "contrast": 0.1},
        {"average": 0.95, "schedule": "step"},
        {"deterministic": False, "rotate": 10.0, "zoom": 0.1},
    ],
)
def test_it_learns_with(dataset, settings):
    trained = train(shapes.config(epochs=5, **settings), dataset)
    assert max(trained.history["val_accuracy"]) > 0.9


def test_averaged_weights_are_those_that_are_judged_and_kept(dataset):
    trained = train(shapes.config(epochs=2, average=0.9, limit=160), dataset)
    loss, _ = judged(trained.model, dataset.validation)
    assert loss == pytest.approx(min(trained.history["val_loss"]), rel=1e-4)
    plain = train(shapes.config(epochs=2, limit=160), dataset)
    assert weights(plain) != weights(trained)


def test_balanced_classes_find_the_rare_one():
    """Of 330 pictures 15 are checks."""
    split = shapes.split(330, seed=1)
    rows = np.flatnonzero((split.labels != 2) | (np.arange(330) < 45))
    rare = Split(split.images[rows], split.labels[rows])
    test = shapes.split(120, seed=2)
    dataset = Dataset("rare", shapes.NAMES, rare, test, test, "sha256:" + "0" * 64)
    found = {
        kind: recall(train(shapes.config(epochs=2, class_weights=kind), dataset).model, test)
        for kind in ("none", "balanced")
    }
    assert found["balanced"] > found["none"]


def recall(model, split):
    answers = model.predict({"image": split.images[split.labels == 2]}, verbose=0)["probabilities"]
    return answers[:, 2].mean()


def test_tensorboard_gets_a_curve_of_every_figure(tmp_path, dataset):
    trained = train(shapes.config(epochs=2, limit=64), dataset, Logging(tensorboard=tmp_path))
    found = {}
    for file in tmp_path.glob("events*"):
        for record in tf.data.TFRecordDataset(str(file)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, float(tf.make_ndarray(value.tensor))))
    assert set(found) == {*trained.history, "learning_rate"}
    for name, values in trained.history.items():
        assert [step for step, _ in found[name]] == [1, 2]
        assert [value for _, value in found[name]] == pytest.approx(values)


def test_a_tensorboard_folder_that_cant_be_written_is_one_sentence(tmp_path, dataset):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigInvalid, match=r"^--tensorboard .*file/events can't be written: Not a directory; choose"):
        train(shapes.config(epochs=1, limit=64), dataset, Logging(tensorboard=tmp_path / "file" / "events"))


def test_maps_that_are_not_possible_are_refused_in_every_process_that_trains(dataset):
    with pytest.raises(ConfigInvalid, match="--explain: head 'class' has no class-activation map"):
        train(shapes.config(explain=True), dataset)
