"""Pictures of a model and of its answers, one module a kind: pure functions from arrays or a Keras model to drawings.

Charts are matplotlib figures (`style`), pictures are uint8 RGB arrays (`tiles`), the network is an SVG
(`architecture`). Nothing here reads or writes a file or knows of HTML; `training.report` puts them on a page and
`training.cli_show` into a file.
"""
