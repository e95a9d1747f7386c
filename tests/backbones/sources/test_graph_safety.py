"""Graphs that would do more than compute are refused before anything of them runs."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.pictures import TINY_SIZE, draw_picture
from support.small_network import small_saved_model
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry

import retrain
from retrain._tensorflow import tf
from retrain.backbones.backbone import BackboneSource, locate_backbone
from retrain.backbones.sources.graph_safety import check_graph, check_saved_model
from retrain.backbones.sources.safe_operations import SAFE_OPERATIONS
from retrain.errors import BackboneError, ModelFolderError
from retrain.model.classifier import Classifier
from retrain.options import BackboneOptions, RunOptions, TrainingOptions

v1 = tf.compat.v1
PIXELS = np.zeros((1, TINY_SIZE, TINY_SIZE, 3), np.uint8)
SPEC = tf.TensorSpec([None, TINY_SIZE, TINY_SIZE, 3], tf.float32, name="inputs")


def test_the_list_has_only_operations_that_there_are_and_none_that_touches_files():
    from tensorflow.compiler.tf2xla.ops import gen_xla_ops  # noqa: F401 (registers them)

    assert not [name for name in SAFE_OPERATIONS if op_def_registry.get(name) is None]
    harmful = (
        "ReadFile WriteFile MatchingFiles SaveV2 RestoreV2 MergeV2Checkpoints PyFunc PyFuncStateless EagerPyFunc "
        "ImmutableConst Abort DecodeProtoV2 DebugIdentity DebugIdentityV2 InitializeTableFromTextFileV2 "
        "TFRecordDataset TextLineDataset WriteSummary CreateSummaryFileWriter RemoteCall Send Recv LoadDataset "
        "XlaCallModule FixedUnigramCandidateSampler GenerateVocabRemapping LoadAndRemapMatrix RecordInput"
    )
    assert not SAFE_OPERATIONS & {*harmful.split()}


def bottlenecks(inputs):
    return tf.reduce_mean(inputs, [1, 2])


def write_file(inputs):
    tf.io.write_file("written", "by the model")
    return bottlenecks(inputs)


def write_in_a_branch(inputs):
    def write():
        tf.io.write_file("written", "by the model")
        return 1.0

    return bottlenecks(inputs) * tf.cond(tf.size(inputs) > 0, write, lambda: 1.0)


def write_in_a_loop(inputs):
    def body(row):
        with tf.control_dependencies([tf.raw_ops.WriteFile(filename="written", contents="by the model")]):
            return tf.reduce_mean(row, [0, 1])

    return tf.map_fn(body, inputs)


def print_to_file(inputs):
    tf.print("by the model", output_stream="file://written")
    return bottlenecks(inputs)


def save_checkpoint(inputs):
    tf.raw_ops.SaveV2(prefix="written", tensor_names=["a"], shape_and_slices=[""], tensors=[tf.constant(1.0)])
    return bottlenecks(inputs)


def save_module(call, folder):
    module = tf.Module()
    module.scale = tf.Variable(1.0)
    module.__call__ = tf.function(lambda inputs: call(inputs) * module.scale, input_signature=[SPEC], autograph=False)
    tf.saved_model.save(module, str(folder))
    return folder


def run_backbone(folder, **options):
    return locate_backbone(BackboneOptions(str(folder), **options)).network.bottlenecks(PIXELS)


@pytest.mark.parametrize(
    ("call", "operation"),
    [
        (write_file, "WriteFile"),
        (write_in_a_branch, "WriteFile"),
        (write_in_a_loop, "WriteFile"),
        (print_to_file, "PrintV2 to a file"),
    ],
)
def test_a_saved_model_that_writes_a_file_is_refused(tmp_path, call, operation):
    folder = save_module(call, tmp_path / "hostile")
    with pytest.raises(BackboneError, match=rf"SavedModel in .*hostile has operations .*{operation}.*give --trust"):
        run_backbone(folder)
    assert not [*tmp_path.glob("written*")]
    run_backbone(folder, trust=True)
    assert [*tmp_path.glob("written*")]


def test_a_saved_model_that_writes_a_file_when_it_is_loaded_is_refused(tmp_path):
    class Resource(tf.saved_model.experimental.TrackableResource):
        def _create_resource(self):
            return tf.raw_ops.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64)

        def _initialize(self):
            tf.io.write_file(str(tmp_path / "written"), "by the model")

    module = tf.Module()
    module.resource = Resource()
    module.__call__ = tf.function(bottlenecks, input_signature=[SPEC])
    (tmp_path / "hostile").mkdir()
    tf.saved_model.save(module, str(tmp_path / "hostile"))
    (tmp_path / "written").unlink(missing_ok=True)
    with pytest.raises(BackboneError, match="WriteFile"):
        run_backbone(tmp_path / "hostile")
    assert not (tmp_path / "written").exists()
    run_backbone(tmp_path / "hostile", trust=True)
    assert (tmp_path / "written").exists()


@pytest.mark.parametrize(
    "call",
    [
        save_checkpoint,
        lambda inputs: bottlenecks(inputs) * tf.numpy_function(lambda: np.float32(1), [], tf.float32),
        lambda inputs: bottlenecks(inputs) * tf.py_function(lambda: 1.0, [], tf.float32),
        lambda inputs: bottlenecks(inputs) + tf.cast(tf.size(tf.io.read_file("/etc/passwd")), tf.float32),
        lambda inputs: bottlenecks(inputs) + tf.cast(tf.size(tf.io.matching_files("/*")), tf.float32),
        lambda inputs: (
            bottlenecks(inputs)
            + tf.raw_ops.RestoreV2(prefix="x", tensor_names=["a"], shape_and_slices=[""], dtypes=[tf.float32])[0]
        ),
    ],
)
def test_functions_that_reach_out_are_refused(call):
    graph = tf.function(call, input_signature=[SPEC], autograph=False).get_concrete_function().graph.as_graph_def()
    with pytest.raises(BackboneError, match=r"PyFunc|ReadFile|MatchingFiles|RestoreV2|SaveV2"):
        check_graph(graph, "this graph", BackboneError)


# TensorFlow 1


def tf1_saved_model(folder, change=lambda save, graph: None):
    builder = v1.saved_model.Builder(str(folder))
    with tf.Graph().as_default() as graph, v1.Session() as session:
        images = v1.placeholder(tf.float32, SPEC.shape, name="images")
        output = tf.identity(bottlenecks(images) * v1.get_variable("scale", initializer=1.0), name="output")
        saver = v1.train.Saver()
        changed = change(saver.saver_def, graph)
        signature = v1.saved_model.build_signature_def(
            {"images": v1.saved_model.build_tensor_info(images)},
            {"default": v1.saved_model.build_tensor_info(output if changed is None else changed)},
        )
        session.run(v1.global_variables_initializer())
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature}, saver=saver)
    builder.save()
    return folder


def output_after_saving(save, graph):
    with tf.control_dependencies([graph.get_operation_by_name(save.save_tensor_name.partition(":")[0])]):
        return tf.identity(graph.get_tensor_by_name("output:0"))


def initializer_that_saves(save, graph):
    operation = graph.get_operation_by_name(save.save_tensor_name.partition(":")[0])
    v1.add_to_collection(v1.GraphKeys.TABLE_INITIALIZERS, operation)


def restoring_that_saves(save, graph):
    save.restore_op_name = save.save_tensor_name.partition(":")[0]


def test_a_sound_model_of_tensorflow_1_passes(tmp_path):
    assert run_backbone(tf1_saved_model(tmp_path / "model")).shape == (1, 3)


@pytest.mark.parametrize("change", [output_after_saving, initializer_that_saves, restoring_that_saves])
def test_what_saves_a_model_may_not_be_run_by_anything_else(tmp_path, change):
    folder = tf1_saved_model(tmp_path / "hostile", change)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BackboneError, match="SaveV2"):
        run_backbone(folder)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_function_that_saves_may_not_be_among_the_objects(tmp_path):
    folder = save_module(bottlenecks, tmp_path / "hostile")
    model = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    check_saved_model(model, "this model", BackboneError)
    [meta_graph] = model.meta_graphs
    functions = {function.signature.name: function for function in meta_graph.graph_def.library.function}
    [saving] = [name for name in functions if "traced_save" in name]
    [inner] = [name for name in functions if "__inference_<lambda>" in name or "__inference___call__" in name][:1]
    functions[inner].node_def.add(name="x", op="StatefulPartitionedCall").attr["f"].func.name = saving
    with pytest.raises(BackboneError, match=r"MergeV2Checkpoints/SaveV2 \(function"):
        check_saved_model(model, "this model", BackboneError)


def test_an_operation_named_by_an_attribute_is_found():
    graph = v1.GraphDef()
    call = graph.node.add(name="a", op="PartitionedCall").attr["f"].func
    call.name = "WriteFile"
    with pytest.raises(BackboneError, match=r"WriteFile \(node a\)"):
        check_graph(graph, "this graph", BackboneError)
    call.name = "Identity"
    check_graph(graph, "this graph", BackboneError)
    call.attr["inner"].list.func.add(name="unheard of")
    with pytest.raises(BackboneError, match=r"unheard of \(node a\)"):
        check_graph(graph, "this graph", BackboneError)
    graph.Clear()
    graph.library.gradient.add(function_name="f", gradient_func="g")
    with pytest.raises(BackboneError, match="g \\(gradient of f\\)"):
        check_graph(graph, "this graph", BackboneError)


def test_a_long_list_is_cut_short():
    graph = v1.GraphDef()
    for number in range(20):
        graph.node.add(name=str(number), op="WriteFile")
    with pytest.raises(BackboneError, match=r"WriteFile \(node 2\) and 17 more; give --trust only if"):
        check_graph(graph, "this graph", BackboneError)


# what is ours, and what is usual


def test_our_backbones_and_models_pass(tmp_path, tiny_backbone, test_data):
    small_saved_model(tmp_path / "small")
    for folder in (tiny_backbone, tmp_path / "small", test_data / "backbones" / "inception_v3"):
        model = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
        check_saved_model(model, "this model", BackboneError)


@pytest.mark.slow
def test_a_network_of_keras_passes_in_training_and_in_use():
    import keras

    model = keras.applications.MobileNetV3Small(include_top=False, weights=None, input_shape=(64, 64, 3), pooling="avg")
    call = tf.function(
        lambda pixels: (model(pixels, training=False), model(pixels, training=True)),
        input_signature=[tf.TensorSpec([None, 64, 64, 3])],
        autograph=False,
    )
    check_graph(call.get_concrete_function().graph.as_graph_def(), "this graph", BackboneError)


# model folders


@pytest.fixture(scope="module")
def trained(tiny_backbone, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    for label, name in enumerate(["cat", "dog"]):
        (folder / "pictures" / name).mkdir(parents=True)
        for number in range(20):
            draw_picture(number, label).save(folder / "pictures" / name / f"{number}.png")
    options = RunOptions(backbone=BackboneOptions(str(tiny_backbone)), training=TrainingOptions(steps=20))
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        retrain.train("pictures", "model", options)
    return folder


@pytest.mark.slow
def test_a_model_whose_graph_writes_a_file_is_refused(trained, tmp_path):
    shutil.copytree(trained / "model", "model")
    run = json.loads(Path("model/run.json").read_text())
    Path("model/run.json").write_text(json.dumps({k: run[k] for k in run if k not in ("sha256", "digest")}))
    graph = v1.GraphDef.FromString(Path("model/graph.pb").read_bytes())
    with tf.Graph().as_default() as part:
        tf.raw_ops.WriteFile(filename=str(tmp_path / "written"), contents="by the model", name="innocent")
        graph.node.extend(part.as_graph_def().node)
    [scores] = [node for node in graph.node if node.name == "final_result"]
    scores.input.append("^innocent")
    Path("model/graph.pb").write_bytes(graph.SerializeToString())
    with pytest.raises(ModelFolderError, match=r"the graph model/graph.pb has .*WriteFile \(node innocent\)"):
        Classifier("model")
    assert not Path("written").exists()
    Classifier("model", trust=True).scores(PIXELS)
    assert Path("written").exists()


@pytest.mark.slow
def test_a_kept_graph_of_a_backbone_that_was_trusted_once_is_refused_later(tmp_path, trained):
    folder = save_module(write_file, tmp_path / "hostile")
    options = {"training": TrainingOptions(steps=5)}
    trusting = RunOptions(backbone=BackboneOptions(str(folder), trust=True), **options)
    retrain.train(trained / "pictures", "model", trusting)
    Path("written").unlink()
    with pytest.raises(BackboneError, match=r"the graph of backbone hostile has .*WriteFile"):
        retrain.train(trained / "pictures", "model", RunOptions(backbone=BackboneOptions(str(folder)), **options))
    assert not Path("written").exists()


@pytest.mark.parametrize("content", [b"\xff" * 40, None])
def test_a_damaged_saved_model_is_an_error(tmp_path, content):
    (tmp_path / "model").mkdir()
    if content:
        (tmp_path / "model" / "saved_model.pb").write_bytes(content)
    source = BackboneSource("model", "saved_model", str(tmp_path / "model"))
    from retrain.backbones.backbone import load_network

    with pytest.raises(BackboneError, match=r"saved_model.pb is damaged|no readable saved_model.pb"):
        load_network(source)
