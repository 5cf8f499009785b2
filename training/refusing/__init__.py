"""Looks through model files before any loader sees them, and refuses what could run code or reach other files.

`keras_code` walks the configuration of `.keras` and `.h5` files, `graph_code` the graphs of SavedModels. Used wherever
a model file is opened: by `training.foreign` and by the report.
"""
