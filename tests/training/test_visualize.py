import numpy as np
import pytest
from PIL import Image

from training import visualize

NAMES = ("one", "two", "three")


def pixels(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def history(epochs):
    return {name: tuple(np.linspace(0.1, 0.9, epochs)) for name in ("loss", "accuracy", "val_loss", "val_accuracy")}


@pytest.mark.parametrize("epochs", [1, 2, 50])
def test_curves_of_any_length_are_drawn(tmp_path, epochs):
    visualize.learning_curves(tmp_path / "curves.png", history(epochs), best_epoch=epochs - 1)
    assert pixels(tmp_path / "curves.png").std() > 5


def test_another_epoch_kept_is_another_picture(tmp_path):
    for best in (0, 4):
        visualize.learning_curves(tmp_path / f"{best}.png", history(5), best)
    assert (pixels(tmp_path / "0.png") != pixels(tmp_path / "4.png")).any()


def test_a_perfect_model_and_a_wrong_one_are_drawn_differently(tmp_path):
    visualize.confusion_matrix(tmp_path / "perfect.png", np.diag([5, 5, 5]), NAMES)
    visualize.confusion_matrix(tmp_path / "wrong.png", np.roll(np.diag([5, 5, 5]), 1, axis=1), NAMES)
    perfect, wrong = pixels(tmp_path / "perfect.png"), pixels(tmp_path / "wrong.png")
    assert perfect.shape == wrong.shape
    assert (perfect != wrong).any()


def test_a_class_without_pictures_is_an_empty_row(tmp_path):
    visualize.confusion_matrix(tmp_path / "matrix.png", np.array([[3, 1, 0], [0, 0, 0], [1, 0, 2]]), NAMES)
    assert pixels(tmp_path / "matrix.png").std() > 5


def test_more_classes_make_a_larger_picture(tmp_path):
    visualize.confusion_matrix(tmp_path / "few.png", np.eye(3, dtype=np.int64), NAMES)
    visualize.confusion_matrix(tmp_path / "many.png", np.eye(20, dtype=np.int64), [f"class {n}" for n in range(20)])
    assert pixels(tmp_path / "many.png").shape[0] > 2 * pixels(tmp_path / "few.png").shape[0]
