import keras
import numpy as np
import pytest
import shapes

from training.errors import TrainingDiverged
from training.tasks.classification import task
from training.train import _mirror_half, _refuse_divergence, _training_batches, train


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


def test_another_seed_gives_another_order(dataset):
    first, again, other = (
        next(iter(_training_batches(dataset, task(dataset), shapes.config(seed=seed), 20)))[0]["image"].numpy()
        for seed in (1, 1, 2)
    )
    assert (first == again).all()
    assert (first != other).any()


def test_the_best_epochs_weights_are_kept(dataset):
    """A learning rate that spoils the model again: its last epoch is not its best."""
    trained = train(shapes.config(epochs=6, learning_rate=0.3, warmup=0.9), dataset)
    losses = trained.history["val_loss"]
    assert trained.best_epoch == int(np.argmin(losses)) < len(losses) - 1
    labels = keras.utils.to_categorical(dataset.validation.labels, 3)
    loss, _ = trained.model.evaluate({"image": dataset.validation.images}, {"probabilities": labels}, verbose=0)
    assert loss == pytest.approx(losses[trained.best_epoch], rel=1e-4)


def test_the_history_has_a_value_an_epoch(trained):
    assert set(trained.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert {len(values) for values in trained.history.values()} == {3}


def test_divergence_stops_at_once_and_is_said_with_the_learning_rate(dataset):
    with pytest.raises(TrainingDiverged, match=r"epoch 1 of 1000, .*lower the learning rate, which is 1e\+30"):
        train(shapes.config(epochs=1000, learning_rate=1e30, warmup=0.0), dataset)


def test_the_loss_that_was_lost_is_the_one_that_is_said():
    history = {"loss": (0.5, 0.4), "val_loss": (0.6, float("nan"))}
    with pytest.raises(TrainingDiverged, match="the loss became nan in epoch 2 of 3"):
        _refuse_divergence(history, shapes.config())


def test_a_warm_up_of_nearly_the_whole_run_leaves_a_step_to_come_down(dataset):
    assert train(shapes.config(epochs=1, limit=7, warmup=0.99), dataset).model.optimizer.iterations == 1


def test_a_limit_below_the_batch_size_is_one_batch(dataset):
    trained = train(shapes.config(epochs=1, limit=7), dataset)
    assert trained.model.optimizer.iterations == 1


def test_every_picture_is_seen_once_an_epoch_in_a_new_order(dataset):
    few = dataset.limited(60)
    batches = _training_batches(few, task(few), shapes.config(flip=False), 20).take(6)
    seen = np.concatenate([pictures["image"].numpy() for pictures, _ in batches]).reshape(2, 60, -1)
    assert sorted(map(bytes, seen[0])) == sorted(map(bytes, seen[1])) == sorted(map(bytes, few.train.images))
    assert (seen[0] != seen[1]).any()


def test_a_picture_keeps_its_label(dataset):
    few = dataset.limited(60)
    label_of = {bytes(image): label for image, label in zip(few.train.images, few.train.labels, strict=True)}
    for pictures, targets in _training_batches(few, task(few), shapes.config(flip=False), 20).take(3):
        found = [label_of[bytes(image)] for image in pictures["image"].numpy()]
        assert found == targets["probabilities"].numpy().argmax(axis=1).tolist()


def test_about_half_is_mirrored_and_only_left_to_right():
    pictures = np.random.default_rng(0).integers(0, 256, (1000, 4, 5, 1), np.uint8)
    given = _mirror_half(pictures, 0, np.int64(7)).numpy()
    same = (given == pictures).all(axis=(1, 2, 3))
    mirrored = (given == pictures[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (same | mirrored).all()
    assert 400 < mirrored.sum() < 600


def test_each_batch_is_mirrored_differently():
    pictures = np.random.default_rng(0).integers(0, 256, (100, 4, 5, 1), np.uint8)
    first, again, other = (_mirror_half(pictures, 0, np.int64(number)).numpy() for number in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
