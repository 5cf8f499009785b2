"""The parts of a training run, put together by `training.train`: batches, augmentation, steps, checkpoints, logs."""
