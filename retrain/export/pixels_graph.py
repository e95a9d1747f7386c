"""The part of a model's graph from pixels to its outputs, as converters and other programs take it."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from retrain.backbones import PIXELS_INPUT
from retrain.export.stored_model import StoredModel

if TYPE_CHECKING:
    from retrain._tensorflow import tf

__all__ = ["pixels_graph"]


def pixels_graph(model: StoredModel, outputs: Iterable[str]) -> "tf.compat.v1.GraphDef":
    """The graph from `Placeholder`, (n, height, width, 3) float32 in [0, 1], to some outputs, and nothing else.

    Args:
        outputs: names of their nodes.
    Raises ExportError if the model has no graph, ModelFolderError.
    """
    from retrain._tensorflow import tf

    whole, start = model.graph_def, PIXELS_INPUT[:-2]
    nodes = {node.name: node for node in whole.node}
    needed, waiting = {start}, [*outputs]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            # what is waited for stands before the pixels
            waiting += [text.partition(":")[0] for text in nodes[name].input if not text.startswith("^")]
    graph = tf.compat.v1.GraphDef(versions=whole.versions, library=whole.library)
    for name, node in nodes.items():
        if name not in needed:
            continue
        kept = graph.node.add()
        kept.CopyFrom(node)
        kept.attr.pop("_output_shapes", None)  # OpenCV does not know such lists
        inputs = [text for text in node.input if not text.startswith("^")]
        del kept.input[:]
        if name == start:  # it had a default, for pictures of other sizes
            kept.op = "Placeholder"
        else:
            kept.input.extend(inputs)
    return graph
