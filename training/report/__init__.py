"""The `report/` folder of a version: what a run leaves behind, and the page that shows it.

`record` keeps the figures, answers and pictures of a run beside the model; `make` draws the page from what a version
holds and nothing else, so it can be made again from any version, long after its run.
"""
