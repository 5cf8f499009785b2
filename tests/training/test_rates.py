import numpy as np
import pytest
import shapes

from training.fitting.rates import learning_rates


def rates(steps=100, **changes):
    return learning_rates(shapes.config(learning_rate=1.0, **changes), steps)


@pytest.mark.parametrize("schedule", ["cosine", "constant", "step"])
def test_the_warm_up_is_straight_up_to_the_peak(schedule):
    found = rates(warmup=0.2, schedule=schedule)
    assert found[0] == pytest.approx(0.05)
    assert np.allclose(np.diff(found[:21]), 0.95 / 20, atol=1e-6)
    assert found.max() == found[20] == 1


def test_a_cosine_comes_down_to_a_hundredth():
    found = rates(1000, warmup=0.0)
    assert (found[0], found[500]) == (1, pytest.approx(0.505))
    assert found[-1] == pytest.approx(0.01, abs=1e-4)
    assert (np.diff(found) < 0).all()


def test_a_constant_stays():
    assert set(rates(warmup=0.0, schedule="constant").tolist()) == {1.0}


def test_steps_divide_by_ten():
    found = rates(8, warmup=0.0, schedule="step")
    assert np.allclose(found, [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])


def test_fine_tuning_has_a_schedule_of_its_own_and_lower():
    config = shapes.config(learning_rate=1.0, warmup=0.2, fine_tune=5, fine_tune_rate=0.01)
    found = learning_rates(config, 100, first=40)
    assert found[:40].tolist() == learning_rates(config, 40).tolist()
    assert np.allclose(found[40:], learning_rates(config, 60) / 100)


def test_one_step_has_a_rate():
    assert rates(1, warmup=0.99).tolist() == [1.0]
