"""The sizes that batches are padded to."""

import pytest

from service.runtimes.sizes import size_for, sizes_up_to


@pytest.mark.parametrize("most", range(1, 66))
def test_every_batch_fits_its_size_with_a_third_of_padding_at_most(most):
    size = size_for(most)
    assert most <= size <= most * 3 / 2
    assert sizes_up_to(most)[-1] == size
    assert set(sizes_up_to(most)) >= {size_for(count) for count in range(1, most)}


def test_there_are_ten_of_them_up_to_32():
    assert sizes_up_to(32) == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32]
