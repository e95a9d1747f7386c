"""Files of LiteRT as objects: taken apart, joined, and written again.

The classes of the schema come with the runtime, without types.
"""

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

__all__ = ["AlignedBuffer", "add_graph", "add_signature", "packed", "unpacked"]

_IDENTIFIER = b"TFL3"


class AlignedBuffer(schema.BufferT):  # type: ignore[misc]  # the generated code has no types
    """A buffer at a multiple of 16 bytes, which the schema asks for and the generated code does not do."""

    def __init__(self, array: NDArray[Any]) -> None:
        super().__init__(data=array.tobytes())

    def Pack(self, builder: flatbuffers.Builder) -> int:  # noqa: N802
        """Write it, as the class above does."""
        builder.StartVector(1, len(self.data), 16)
        builder.head = builder.Head() - len(self.data)
        builder.Bytes[builder.Head() : builder.Head() + len(self.data)] = self.data
        vector = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, vector)
        return int(schema.BufferEnd(builder))


def unpacked(data: bytes | memoryview) -> Any:
    """The model in a file, which can be changed."""
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(data))


def packed(model: Any) -> bytearray:
    """The file of a model."""
    for number, buffer in enumerate(model.buffers):
        if buffer.data is not None and not isinstance(buffer, AlignedBuffer):
            model.buffers[number] = AlignedBuffer(np.asarray(buffer.data))
    builder = flatbuffers.Builder(2**20)
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytearray(builder.Output())


def add_graph(model: Any, other: Any) -> int:
    """Give a model the only graph of another one as well; returns its number."""
    buffers, codes = len(model.buffers), len(model.operatorCodes)
    [graph] = other.subgraphs
    for tensor in graph.tensors:
        tensor.buffer += buffers
    for operator in graph.operators:
        operator.opcodeIndex += codes
    model.buffers += other.buffers
    model.operatorCodes += other.operatorCodes
    model.subgraphs.append(graph)
    return len(model.subgraphs) - 1


def add_signature(model: Any, name: str, graph: int, taken: str, given: Sequence[str]) -> None:
    """Give a graph with one input a signature, with names for that and its outputs."""
    [taken_tensor], given_tensors = model.subgraphs[graph].inputs, model.subgraphs[graph].outputs
    outputs = zip(given, given_tensors, strict=True)
    signature = schema.SignatureDefT(
        inputs=[schema.TensorMapT(name=taken.encode(), tensorIndex=taken_tensor)],
        outputs=[schema.TensorMapT(name=output.encode(), tensorIndex=tensor) for output, tensor in outputs],
        signatureKey=name.encode(),
        subgraphIndex=graph,
    )
    model.signatureDefs = [*(model.signatureDefs or ()), signature]
