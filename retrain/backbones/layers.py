"""The layers of a network, and the constants of its frozen graph that are their weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["NetworkLayer", "VariableGroup", "find_layers", "keras_groups", "saved_groups"]

VariableGroup = tuple[str, Sequence[Any]]  # a layer's name, and its variables that may be trained


@dataclass(frozen=True)
class NetworkLayer:
    """One layer, from the pictures upwards."""

    name: str
    weights: tuple[str, ...]  # names of constants in the frozen graph that fine-tuning may change; often none


def keras_groups(model: Any) -> list[VariableGroup]:
    """The layers of a Keras model in its own order, the input layer first: number 130 is `model.layers[130]`.

    The moving averages of batch normalisation don't count as weights.
    """
    return [(layer.name, [variable.value for variable in layer.trainable_variables]) for layer in model.layers]


def saved_groups(loaded: Any) -> list[VariableGroup]:
    """The layers of a SavedModel, which has variables only: those whose names agree up to the last / are one layer.

    TensorFlow Hub's models list their `trainable_variables`; in others, each variable says whether it is trainable.
    """
    variables = getattr(loaded, "trainable_variables", None)
    if variables is None:
        from retrain._tensorflow import tf

        parts = tf.train.TrackableView(loaded).descendants()
        variables = [part for part in parts if isinstance(part, tf.Variable) and part.trainable]
    groups: dict[str, list[Any]] = {}
    for variable in variables:
        groups.setdefault(variable.name.rpartition("/")[0] or variable.name, []).append(variable)
    return list(groups.items())


def find_layers(function: Any, groups: Sequence[VariableGroup]) -> tuple[NetworkLayer, ...]:
    """The layers, with the names that the variables have when a concrete function is frozen.

    Args:
        function: its captured variables become constants of the same name.
        groups: variables that the function does not use are left out.
    """
    names = {id(outside): inside.name.partition(":")[0] for outside, inside in function.graph.captures}
    return tuple(
        NetworkLayer(name, tuple(names[id(v.handle)] for v in variables if id(v.handle) in names))
        for name, variables in groups
    )
