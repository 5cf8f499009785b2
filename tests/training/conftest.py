"""One published run that many tests look at, and the real data where it can be had."""

import proving
import pytest
import shapes

from training.datasets import load
from training.errors import DatasetUnavailable


@pytest.fixture(scope="session")
def dataset():
    return shapes.dataset()


@pytest.fixture(scope="session")
def brief():
    """Publications take less time from here on."""
    with proving.drawn_briefly():
        yield


@pytest.fixture
def proved_here():
    """The proof of a publication starts no processes."""
    with proving.proved_here():
        yield


@pytest.fixture(scope="session")
def published(tmp_path_factory, dataset, brief):
    """A bundle that was really trained, exported, proved and published."""
    from training.publish import train_and_publish

    return train_and_publish(shapes.config(epochs=5), dataset, tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="session")
def fashion_mnist():
    try:
        return load("fashion_mnist")
    except DatasetUnavailable as error:
        pytest.skip(str(error))
