"""Turns concurrent requests into batches: a bounded queue, and instances that each run one batch at a time."""
