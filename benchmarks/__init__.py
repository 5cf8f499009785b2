"""The figures that the documents quote, each measured by `make bench` beside the raw limit of the same run."""
