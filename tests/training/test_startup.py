"""What TensorFlow advises programmers is left out; what is news for whoever trains is not."""

import logging

from training.startup import start_tensorflow


def test_advice_to_programmers_is_left_out_and_warnings_are_not(caplog):
    start_tensorflow()
    logger = logging.getLogger("tensorflow")
    logger.warning("%d out of the last %d calls to %s triggered tf.function retracing.", 5, 14, "<function>")
    logger.warning("There are non-GPU devices in `tf.distribute.Strategy`, not using nccl allreduce.")
    logger.warning("Efficient allreduce is not supported for 3 IndexedSlices")
    logger.error("The disk is on fire")
    assert caplog.messages == ["Efficient allreduce is not supported for 3 IndexedSlices", "The disk is on fire"]
