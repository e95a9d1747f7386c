"""What a frozen graph says: its constants, the shapes of its values, and patterns in it that are one layer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from numpy.typing import NDArray

from retrain._tensorflow import tf

__all__ = ["Array", "BatchNorm", "GraphReader"]

Array = NDArray[Any]

_ADDITIONS = ("Add", "AddV2", "BiasAdd")


@dataclass(frozen=True)
class BatchNorm:
    """Batch normalisation as it was trained, of the values of a node; arrays are (channels,)."""

    source: str
    scale: Array | None
    offset: Array | None
    mean: Array
    variance: Array
    epsilon: float


class GraphReader:
    """The part of a frozen graph between one of its nodes and others.

    Args:
        graph_def: a graph whose weights are constants.
        start, ends: names of the nodes.
        shape: of the start's values.
    """

    def __init__(
        self, graph_def: tf.compat.v1.GraphDef, start: str, ends: Sequence[str], shape: tuple[int | None, ...]
    ) -> None:
        self.start, self.ends, self._library = start, tuple(ends), graph_def.library
        self.nodes = {node.name: node for node in graph_def.node}
        self._needed = self._below()
        self._graph = self._imported(shape)
        # with the attributes that the file leaves out because they have their usual values
        self.nodes = {node.name: node for node in self._graph.as_graph_def().node}
        self._users: dict[str, list[str]] = {}
        for name in self._needed:
            for source in self.inputs(self.nodes[name]):
                self._users.setdefault(source, []).append(name)
        self._varying = self._above()

    def inputs(self, node: tf.compat.v1.NodeDef) -> list[str]:
        """The names of the nodes whose values a node takes."""
        if node.name == self.start:
            return []
        return [name.partition(":")[0] for name in node.input if not name.startswith("^")]

    def shape(self, name: str) -> tuple[int | None, ...]:
        """The shape of a node's first value; None for what is not known before it runs."""
        return tuple(self._graph.get_tensor_by_name(f"{name}:0").shape)

    def constant(self, name: str) -> Array | None:
        """The value of a node that does not depend on the start; None if it does."""
        return self._constants.get(name)

    def under_biases(self, node: tf.compat.v1.NodeDef) -> tuple[tf.compat.v1.NodeDef, Array | None]:
        """The node to whose values a node adds numbers per channel, and these; any other node itself, and None."""
        if node.op in _ADDITIONS:
            for source, biases in self._operands(node):
                channels = self.shape(node.name)[-1]
                is_alone = self._users[source] == [node.name]
                if is_alone and biases.shape[-1:] == (channels,) and biases.size == channels:
                    return self.nodes[source], biases.ravel()
        return node, None

    def batch_norm(self, node: tf.compat.v1.NodeDef) -> BatchNorm | None:
        """The batch normalisation whose last node this is; None if it is something else.

        Keras writes it as values * factor + rest, factor = scale / sqrt(variance + epsilon), rest = offset - mean *
        factor.
        """
        if node.op.startswith("FusedBatchNorm") and not node.attr["is_training"].b:
            source, *names = self.inputs(node)
            arrays = [self._constants[name] for name in names[:4] if name not in self._varying]
            if len(arrays) == 4:
                scale, offset, mean, variance = arrays
                return BatchNorm(source, scale, offset, mean, variance, node.attr["epsilon"].f)
        if node.op not in _ADDITIONS:
            return None
        for product, _ in self._operands(node):
            rest = next(self._origin(name) for name in self.inputs(node) if name != product)
            if self.nodes[product].op == "Mul" and rest.op == "Sub":
                for source, _ in self._operands(self.nodes[product]):
                    factor = next(name for name in self.inputs(self.nodes[product]) if name != source)
                    found = self._unfolded(source, factor, rest)
                    if found is not None:
                        return found
        return None

    def slices(self, node: tf.compat.v1.NodeDef) -> list[slice | int] | None:
        """What a StridedSlice takes of each axis; None if that is known only when it runs, or in other terms."""
        bounds = [self.constant(name) for name in self.inputs(node)[1:]]
        known = [bound.tolist() for bound in bounds if bound is not None]
        if len(known) < 3 or node.attr["new_axis_mask"].i:
            return None
        masks = {name: node.attr[f"{name}_mask"].i for name in ("begin", "end", "shrink_axis", "ellipsis")}
        found: list[slice | int] = []
        rank = len(self.shape(self.inputs(node)[0]))
        for axis, (begin, end, step) in enumerate(zip(*known, strict=True)):
            bit = 1 << axis
            if masks["ellipsis"] & bit:
                found += [slice(None)] * (rank - len(known[0]) + 1)
            elif masks["shrink_axis"] & bit:
                found.append(int(begin))
            else:
                limits = None if masks["begin"] & bit else begin, None if masks["end"] & bit else end
                found.append(slice(*limits, None if step == 1 else step))
        return found + [slice(None)] * (rank - len(found))

    def _unfolded(self, source: str, factor_name: str, rest: tf.compat.v1.NodeDef) -> BatchNorm | None:
        """The parts of a batch normalisation, from the two constants that it comes to."""
        factor = self._origin(factor_name)
        names = [factor_name] if factor.op == "Rsqrt" else self.inputs(factor) if factor.op == "Mul" else []
        roots = [name for name in names if self._origin(name).op == "Rsqrt"]
        offset, shift = self.inputs(rest)
        means = [name for name in self.inputs(self._origin(shift)) if self._origin(name).name != factor.name]
        if len(roots) != 1 or self._origin(shift).op != "Mul" or len(means) != 1:
            return None
        total = self._origin(self.inputs(self._origin(roots[0]))[0])
        if total.op not in _ADDITIONS:
            return None
        parts = [self._constants[name].ravel() for name in self.inputs(total)]
        variance, epsilon = sorted(parts, key=len, reverse=True)
        scales = [self._constants[name].ravel() for name in names if name not in roots]
        centre, mean = self._constants[offset].ravel(), self._constants[means[0]].ravel()
        if len(epsilon) != 1 or {len(variance)} != {len(array) for array in (*scales, centre, mean)}:
            return None
        return BatchNorm(source, scales[0] if scales else None, centre, mean, variance, float(epsilon[0]))

    def _operands(self, node: tf.compat.v1.NodeDef) -> Iterator[tuple[str, Array]]:
        """If one of two operands is a constant: the other, and its value."""
        names = self.inputs(node)
        for source, other in (names, names[::-1]):
            value = self.constant(other)
            if value is not None and self.constant(source) is None:
                yield source, value

    def _origin(self, name: str) -> tf.compat.v1.NodeDef:
        """The node that a constant comes from, if others have only passed it on or given it another shape."""
        node = self.nodes[name]
        while node.op in ("Identity", "Reshape", "Squeeze", "ExpandDims"):
            node = self.nodes[self.inputs(node)[0]]
        return node

    def _below(self) -> list[str]:
        """The nodes that the ends depend on, themselves too, down to the start."""
        found: dict[str, None] = {}
        waiting = [*self.ends]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found[name] = None
                waiting += self.inputs(self.nodes[name])
        return [*found]

    def _above(self) -> set[str]:
        """Those of them that depend on the start."""
        found: set[str] = set()
        waiting = [self.start]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += self._users.get(name, ())
        return found

    def _imported(self, shape: tuple[int | None, ...]) -> tf.Graph:
        part = tf.compat.v1.GraphDef(library=self._library)
        for name in self._needed:
            if name != self.start:
                node = part.node.add()
                node.CopyFrom(self.nodes[name])
                node.input[:] = [source for source in node.input if not source.startswith("^")]
        graph = tf.Graph()
        with graph.as_default():
            start = tf.compat.v1.placeholder(tf.float32, shape, name=self.start)
            tf.graph_util.import_graph_def(part, {f"{self.start}:0": start}, name="")
        return graph

    @cached_property
    def _constants(self) -> dict[str, Array]:
        names = [name for name in self._needed if name not in self._varying]
        with tf.compat.v1.Session(graph=self._graph) as session:
            return dict(zip(names, session.run([f"{name}:0" for name in names]), strict=True))
