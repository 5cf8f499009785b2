"""Every kind of network as blocks and connections."""

import pytest
import small_models

from training.visualize.graph import read_graph
from training.visualize.walk import has_graph
from training.visualize.words import note_of, shape_words, title_of


def names(graph, edges=True):
    blocks = [block.name if block.role != "layer" else type(block.layers[0]).__name__ for block in graph.blocks]
    return [(blocks[source], blocks[target]) for source, target in graph.edges] if edges else blocks


def test_a_chain_is_folded_into_blocks_that_name_what_finishes_them():
    graph = read_graph(small_models.chain())
    blocks = ["image", "Rescaling", "Conv2D", "MaxPooling2D", "Conv2D", "Flatten", "Dense", "output"]
    assert names(graph, edges=False) == blocks
    assert graph.edges == tuple((number, number + 1) for number in range(7))
    first, second = graph.blocks[2], graph.blocks[4]
    assert (title_of(first), note_of(first)) == ("Conv2D 3×3, 4", "batch norm · relu")
    assert (title_of(second), note_of(second)) == ("Conv2D 3×3, 6", "relu")
    assert [shape_words(block.shape) for block in graph.blocks[1:4]] == ["12×12×1", "12×12×4", "6×6×4"]
    assert note_of(graph.blocks[5]) == "dropout 0.5"


def test_a_skip_is_a_second_connection_and_every_head_an_output():
    edges = names(read_graph(small_models.residual()))
    assert edges.count(("Conv2D", "Add")) == 4  # the stem's skip and its branch, the branch and the projected skip
    assert ("GlobalAveragePooling2D", "Dense") in edges
    assert {target for _, target in edges} >= {"probabilities", "coarse_probabilities"}


def test_an_inner_model_that_is_called_twice_is_one_block():
    graph = read_graph(small_models.siamese())
    (encoder,) = (block for block in graph.blocks if block.name == "encoder")
    assert encoder.calls == 2
    assert "shared, 2 calls" in note_of(encoder)
    fed = {graph.blocks[source].name for source, target in graph.edges if graph.blocks[target] is encoder}
    assert fed == {"left", "right"}


def test_inner_models_can_be_laid_open():
    graph = read_graph(small_models.inner_transfer(), inside=True)
    assert [block.paths for block in graph.blocks if block.name == "deep"] == [("backbone/deep",)]


def test_layers_that_are_called_twice_are_shared_blocks():
    blocks = {block.name: block for block in read_graph(small_models.shared_layers()).blocks}
    assert blocks["seen_twice"].calls == 2
    assert blocks["left"].calls == 1


def test_a_layer_that_feeds_itself_is_as_many_blocks_as_calls():
    assert names(read_graph(small_models.fed_by_itself()), edges=False).count("Conv2D") == 3


@pytest.mark.parametrize("build", [small_models.chain, small_models.residual, small_models.siamese])
def test_no_weight_is_counted_twice_or_lost_and_the_model_is_not_touched(build):
    model = build()
    calls = [len(layer._inbound_nodes) for layer in model.layers]
    assert sum(block.parameters for block in read_graph(model).blocks) == model.count_params()
    assert [len(layer._inbound_nodes) for layer in model.layers] == calls


def test_a_model_that_is_code_has_no_graph():
    assert not has_graph(small_models.Code())
    assert has_graph(small_models.chain())
