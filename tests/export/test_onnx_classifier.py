"""What the head adds to an ONNX network, whatever version of the operators that has."""

import numpy as np
import pytest
from support.rejections import some_rejection

from retrain.export.onnx_classifier import _add_known

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")


@pytest.mark.parametrize("version", [9, 12, 13, 17, 18, 20])
def test_known_is_the_same_in_all_versions_of_the_operators(version):
    rejection, helper = some_rejection(12, 3), onnx.helper
    vectors = np.random.default_rng(0).random((5, 12), np.float32)
    vectors[0] = 0
    taken = helper.make_tensor_value_info("bottleneck", onnx.TensorProto.FLOAT, ["n", 12])
    given = helper.make_tensor_value_info("known", onnx.TensorProto.FLOAT, ["n", 1])
    graph = helper.make_graph([], "it", [taken], [given])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=8)
    _add_known(model, rejection)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    [known] = session.run(None, {"bottleneck": vectors})
    np.testing.assert_allclose(known, rejection.known(vectors), rtol=0, atol=1e-5)
