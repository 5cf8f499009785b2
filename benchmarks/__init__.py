"""What the server costs, measured by `make bench` beside the raw limit of the same run."""
