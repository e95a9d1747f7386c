import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from support.web_server import Server, pack, refused

from retrain._tensorflow import import_keras
from retrain.backbones.backbone import Backbone, BackboneSource, locate_backbone
from retrain.backbones.catalogue import fetch_backbone
from retrain.errors import BackboneError, BackboneUnavailableError
from retrain.options import BackboneOptions

pytestmark = pytest.mark.network

SIZE = 4  # pixels, side of the small SavedModels' pictures
LENGTH = 5  # length of their bottlenecks
SMALL = "mobilenet_0.25_128"  # the smallest network of Keras Applications

SMALL_FILE = "mobilenet_2_5_128_tf_no_top.h5"

# The names of all networks of Keras Applications, and the input size that each was made for.
KERAS_NAMES = {
    "convnext_base": 224,
    "convnext_large": 224,
    "convnext_small": 224,
    "convnext_tiny": 224,
    "convnext_xlarge": 224,
    "densenet121": 224,
    "densenet169": 224,
    "densenet201": 224,
    "efficientnet_b0": 224,
    "efficientnet_b1": 240,
    "efficientnet_b2": 260,
    "efficientnet_b3": 300,
    "efficientnet_b4": 380,
    "efficientnet_b5": 456,
    "efficientnet_b6": 528,
    "efficientnet_b7": 600,
    "efficientnet_v2_b0": 224,
    "efficientnet_v2_b1": 240,
    "efficientnet_v2_b2": 260,
    "efficientnet_v2_b3": 300,
    "efficientnet_v2_l": 480,
    "efficientnet_v2_m": 480,
    "efficientnet_v2_s": 384,
    "inception_resnet_v2": 299,
    "inception_v3": 299,
    "mobilenet": 224,
    "mobilenet_v2": 224,
    "mobilenet_v3_large": 224,
    "mobilenet_v3_small": 224,
    "nasnet_large": 331,
    "nasnet_mobile": 224,
    "resnet101": 224,
    "resnet101_v2": 224,
    "resnet152": 224,
    "resnet152_v2": 224,
    "resnet50": 224,
    "resnet50_v2": 224,
    "vgg16": 224,
    "vgg19": 224,
    "xception": 299,
}


def locate(backbone: Path | str, **options) -> Backbone:
    return locate_backbone(BackboneOptions(backbone=str(backbone), **options))


def pictures(count: int = 3, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def kernel(size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(size * size * 3, LENGTH)).astype(np.float32)


def expected(pixels: np.ndarray, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    """What the small SavedModels give: (n, LENGTH)."""
    scaled = pixels.reshape(len(pixels), -1).astype(np.float64) / 255 * (high - low) + low
    return scaled @ kernel(pixels.shape[1])


def assert_gives(backbone: Backbone, vectors: np.ndarray, pixels: np.ndarray) -> None:
    """The backbone gives these vectors, as float32, for a batch, and for a single picture."""
    network = backbone.network
    found = network.bottlenecks(pixels)
    assert vectors.std() > 0
    assert found.dtype == np.float32
    assert found.shape == vectors.shape == (len(pixels), network.bottleneck_size)
    np.testing.assert_allclose(found, vectors, rtol=1e-4, atol=1e-4 * np.abs(vectors).max())
    np.testing.assert_allclose(network.bottlenecks(pixels[:1]), found[:1], rtol=1e-4, atol=1e-4 * np.abs(found).max())


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No backbones, caches and proxies of this machine."""
    monkeypatch.delenv("RETRAIN_BACKBONES", raising=False)
    monkeypatch.delenv("TFHUB_CACHE_DIR", raising=False)
    monkeypatch.delenv("KERAS_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


# SavedModels in all their forms


def save_module(
    folder: Path,
    call: Callable | None = None,
    *,
    shape: tuple = (None, SIZE, SIZE, 3),
    training: bool = False,
    signature: str | None = "serving_default",
    dtype: str = "float32",
) -> Path:
    """Write a TensorFlow 2 module; `call(pixels, kernel)` is what it computes, a matrix product by default.

    Its signature has a name, or is TensorFlow's own choice ("automatic"), or there is none.
    """
    from retrain._tensorflow import tf

    module = tf.Module()
    module.kernel = tf.Variable(kernel(shape[1] or SIZE))
    compute = call or (lambda pixels, weights: tf.matmul(tf.reshape(pixels, [-1, weights.shape[0]]), weights))
    spec = tf.TensorSpec(shape, getattr(tf, dtype), name="inputs")
    if training:
        # in training mode all is zero: a backbone must not be called so

        @tf.function(input_signature=[spec, tf.TensorSpec([], tf.bool, name="training")])
        def module_call(inputs, training=True):
            return compute(inputs, module.kernel) * (1.0 - tf.cast(training, tf.float32))

    else:

        @tf.function(input_signature=[spec])
        def module_call(inputs):
            return compute(inputs, module.kernel)

    module.__call__ = module_call

    def serve(inputs):
        output = module_call(inputs, False) if training else module_call(inputs)
        return output if isinstance(output, dict) else {"default": output}

    signatures = {signature: tf.function(serve, input_signature=[spec])} if signature else {}
    tf.saved_model.save(module, str(folder), signatures=None if signature == "automatic" else signatures)
    return folder


def save_signatures(folder: Path, compute: Callable, name: str = "serving_default", specs: dict | None = None) -> Path:
    """Write a SavedModel that can't be called, with one signature."""
    from retrain._tensorflow import tf

    module = tf.Module()
    specs = specs or {"inputs": tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32)}
    named = [tf.TensorSpec(spec.shape, spec.dtype, name=argument) for argument, spec in specs.items()]
    module.function = tf.function(compute, input_signature=named)
    tf.saved_model.save(module, str(folder), signatures={name: module.function})
    return folder


def save_tf1_hub(folder: Path, *, size: int | None = SIZE, feature_maps: bool = False) -> Path:
    """Write a module in the format of TensorFlow 1's Hub: a graph for inference, one for training, and a marker."""
    from retrain._tensorflow import tf

    v1 = tf.compat.v1
    builder = v1.saved_model.Builder(str(folder))
    for training in (False, True):
        with tf.Graph().as_default(), v1.Session() as session:
            images = v1.placeholder(tf.float32, [None, size, size, 3], name="images")
            if feature_maps:
                output = images * v1.get_variable("scale", initializer=tf.constant([1.0, 2.0, 3.0]))
            else:
                weights = v1.get_variable("kernel", initializer=tf.constant(kernel(size)))
                output = tf.matmul(tf.reshape(images, [-1, weights.shape[0]]), weights)
            if training:
                output = output * 0.0
            signature = v1.saved_model.build_signature_def(
                inputs={"images": v1.saved_model.build_tensor_info(images)},
                outputs={
                    "default": v1.saved_model.build_tensor_info(output),
                    "InceptionV3/Mixed_7c": v1.saved_model.build_tensor_info(images),
                },
            )
            session.run(v1.global_variables_initializer())
            signatures = {"default": signature, "image_feature_vector": signature}
            if training:
                builder.add_meta_graph(["train"], signature_def_map=signatures)
            else:
                builder.add_meta_graph_and_variables(session, [], signature_def_map=signatures)
    builder.save()
    (folder / "tfhub_module.pb").write_bytes(b"\x08\x03")  # format_version: 3
    return folder


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("signature", [None, "automatic", "serving_default"])
def test_reusable_module_is_called_for_inference(training, signature, tmp_path):
    folder = save_module(tmp_path / "model", training=training, signature=signature)
    assert_gives(locate(folder), expected(pictures()), pictures())


def test_keras_export_is_called_by_its_signature(tmp_path):
    keras = import_keras()
    inputs = keras.Input((SIZE, SIZE, 3))
    outputs = keras.layers.Dense(LENGTH, use_bias=False, name="dense")(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, outputs)
    model.get_layer("dense").set_weights([kernel()])
    model.export(str(tmp_path / "model"), verbose=False)
    assert_gives(locate(tmp_path / "model"), expected(pictures()), pictures())


def test_tf1_hub_module(tmp_path):
    assert_gives(locate(save_tf1_hub(tmp_path / "model")), expected(pictures()), pictures())


def test_feature_maps_of_a_tf1_hub_module_are_averaged(tmp_path):
    folder = save_tf1_hub(tmp_path / "model", feature_maps=True)
    averages = pictures().astype(np.float64).mean(axis=(1, 2)) / 255
    assert_gives(locate(folder), averages * [1, 2, 3], pictures())


def test_feature_maps_are_averaged(tmp_path):
    folder = save_module(tmp_path / "model", lambda pixels, _: pixels * 2.0)
    assert_gives(locate(folder), pictures().astype(np.float64).mean(axis=(1, 2)) / 255 * 2, pictures())


@pytest.mark.parametrize("name", ["default", "feature_vector", "bottleneck", "output_0"])
def test_of_several_outputs_the_one_with_a_known_name_is_taken(name, tmp_path):
    folder = save_module(tmp_path / "model", lambda pixels, _: {"a": pixels, name: pixels[:, 0, 0] * 3.0})
    assert_gives(locate(folder), pictures()[:, 0, 0] / 255 * 3, pictures())


def test_only_output_may_have_any_name(tmp_path):
    folder = save_module(tmp_path / "model", lambda pixels, _: {"whatever": pixels[:, 0, 0]})
    assert_gives(locate(folder), pictures()[:, 0, 0] / 255, pictures())


@pytest.mark.parametrize("name", ["image_feature_vector", "default", "serving_default"])
def test_signature_with_a_known_name_is_enough(name, tmp_path):
    folder = save_signatures(tmp_path / "model", lambda inputs: {"default": inputs[:, 0, 0]}, name)
    assert_gives(locate(folder), pictures()[:, 0, 0] / 255, pictures())


@pytest.mark.parametrize(
    ("input_range", "low", "high"), [(None, 0, 1), ("0..1", 0, 1), ("-1..1", -1, 1), ("0..255", 0, 255)]
)
def test_pixels_come_in_the_range_that_the_option_names(input_range, low, high, tmp_path):
    folder = save_module(tmp_path / "model")
    assert_gives(locate(folder, input_range=input_range), expected(pictures(), low, high), pictures())


def test_named_saved_model_of_any_size_is_loaded(tmp_path, monkeypatch):
    save_module(tmp_path / "backbones" / "ours")
    monkeypatch.setenv("RETRAIN_BACKBONES", str(tmp_path / "backbones"))
    assert_gives(locate("ours"), expected(pictures()), pictures())


def test_pictures_need_not_be_square(tmp_path):
    folder = save_module(tmp_path / "model", lambda pixels, _: pixels[:, 1, 5], shape=(None, 2, 6, 3))
    network = locate(folder).network
    assert (network.height, network.width) == (2, 6)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 2, 6, 3), dtype=np.uint8)
    np.testing.assert_allclose(network.bottlenecks(pixels), pixels[:, 1, 5] / 255, rtol=1e-6)


def test_output_in_other_precision_comes_as_float32(tmp_path):
    from retrain._tensorflow import tf

    folder = save_module(tmp_path / "model", lambda pixels, _: tf.cast(pixels[:, 0, 0], tf.float64))
    assert_gives(locate(folder), pictures()[:, 0, 0] / 255, pictures())


def test_no_pictures_give_no_bottlenecks(tmp_path):
    network = locate(save_module(tmp_path / "model")).network
    assert network.bottlenecks(np.zeros((0, SIZE, SIZE, 3), np.uint8)).shape == (0, LENGTH)


# Input sizes


def average(pixels, _):
    from retrain._tensorflow import tf

    return tf.reduce_mean(pixels, [1, 2])


@pytest.mark.parametrize("signature", [None, "automatic", "serving_default"])
def test_open_input_size_must_be_said(signature, tmp_path):
    folder = save_module(tmp_path / "model", average, shape=(None, None, None, 3), signature=signature)
    with pytest.raises(BackboneError, match=r"backbone model takes pictures of any size: say which with --input-size"):
        _ = locate(folder).network


def test_open_input_size_is_that_of_the_option(tmp_path):
    folder = save_module(tmp_path / "model", average, shape=(None, None, None, 3))
    backbone = locate(folder, input_size=7)
    assert (backbone.network.height, backbone.network.width) == (7, 7)
    assert_gives(backbone, pictures(size=7).mean(axis=(1, 2)) / 255, pictures(size=7))


def test_fixed_input_size_may_be_said(tmp_path):
    folder = save_module(tmp_path / "model")
    assert_gives(locate(folder, input_size=SIZE), expected(pictures()), pictures())


@pytest.mark.parametrize("signature", [None, "automatic", "serving_default"])
def test_fixed_input_size_can_not_be_changed(signature, tmp_path):
    folder = save_module(tmp_path / "model", signature=signature)
    with pytest.raises(BackboneError, match="takes pictures of 4 x 4 only, not of --input-size 8"):
        _ = locate(folder, input_size=8).network


def test_fixed_batch_size_is_an_error(tmp_path):
    folder = save_module(tmp_path / "model", shape=(1, SIZE, SIZE, 3))
    with pytest.raises(BackboneError, match="takes batches of exactly 1, expected any number"):
        _ = locate(folder).network


@pytest.mark.parametrize("shape", [(None, SIZE, SIZE, 1), (None, SIZE * SIZE * 3)])
def test_input_that_is_no_picture_is_an_error(shape, tmp_path):
    folder = save_module(tmp_path / "model", lambda pixels, _: pixels * 2.0, shape=shape)
    with pytest.raises(
        BackboneError, match=r"backbone model takes \(None, .*\), expected pictures \(n, height, width, 3"
    ):
        _ = locate(folder).network


# What is no backbone


def test_several_outputs_without_a_known_name_are_an_error(tmp_path):
    folder = save_module(tmp_path / "model", lambda pixels, _: {"a": pixels[:, 0, 0], "b": pixels[:, 1, 1]})
    with pytest.raises(BackboneError, match="has the outputs a, b; expected one, or one named default"):
        _ = locate(folder).network


def test_signature_without_a_known_name_is_an_error(tmp_path):
    folder = save_signatures(tmp_path / "model", lambda inputs: {"default": inputs[:, 0, 0]}, "detect")
    with pytest.raises(BackboneError, match=r"has neither a call nor one of the signatures .*; found: detect"):
        _ = locate(folder).network


def test_signature_with_two_inputs_is_an_error(tmp_path):
    from retrain._tensorflow import tf

    spec = tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32)
    folder = save_signatures(tmp_path / "model", lambda a, b: {"default": a + b}, specs={"a": spec, "b": spec})
    with pytest.raises(BackboneError, match=r"signature takes 2 inputs \(a, b\), expected one"):
        _ = locate(folder).network


def test_output_that_is_no_vector_is_an_error(tmp_path):
    folder = save_module(tmp_path / "model", lambda pixels, _: pixels[:, 0])
    with pytest.raises(BackboneError, match=r"the backbone gives \(None, 4, 3\) for a batch of pictures"):
        _ = locate(folder).network


def test_model_that_takes_integers_is_an_error(tmp_path):
    from retrain._tensorflow import tf

    folder = save_module(tmp_path / "model", lambda pixels, _: tf.cast(pixels[:, 0, 0], tf.float32), dtype="uint8")
    with pytest.raises(BackboneError, match=r"backbone model does not take \(n, 4, 4, 3\) float32 pixels: \w+"):
        _ = locate(folder).network


@pytest.mark.parametrize("content", [b"", b"this is no graph"])
def test_damaged_saved_model_is_an_error(content, tmp_path):
    folder = save_module(tmp_path / "model")
    (folder / "saved_model.pb").write_bytes(content)
    with pytest.raises(BackboneError, match=r"backbone model: the SavedModel in .*/model can't be loaded: \w+"):
        _ = locate(folder).network


def test_saved_model_without_its_variables_is_an_error(tmp_path):
    folder = save_module(tmp_path / "model")
    for file in (folder / "variables").iterdir():
        file.unlink()
    with pytest.raises(BackboneError, match=r"the SavedModel in .* can't be loaded"):
        _ = locate(folder).network


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_value_that_is_not_finite_is_an_error(value, tmp_path):
    folder = save_module(tmp_path / "model", lambda pixels, _: pixels[:, 0, 0] + value)
    with pytest.raises(BackboneError, match="gives values that are not finite: check its weights and input range"):
        locate(folder).network.bottlenecks(pictures())


@pytest.mark.parametrize("problem", ["outputs", "type"])
def test_message_is_a_single_line_that_says_what_is_wrong(problem, tmp_path):
    """TensorFlow's own messages begin with lines like "in user code:"."""
    if problem == "outputs":
        folder = save_module(tmp_path / "model", lambda pixels, _: {"a": pixels[:, 0, 0], "b": pixels[:, 1, 1]})
    else:
        folder = save_module(tmp_path / "model", lambda pixels, _: pixels[:, 0, 0], dtype="uint8")
    with pytest.raises(BackboneError, match=r"^backbone model ") as caught:
        _ = locate(folder).network
    assert "\n" not in str(caught.value)
    assert "in user code" not in str(caught.value)


# Frozen graphs


def run_graph(graph_def, input_name: str, output_name: str, pixels: np.ndarray) -> np.ndarray:
    from retrain._tensorflow import tf

    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
        with tf.compat.v1.Session(graph=graph) as session:
            return session.run(output_name, {input_name: pixels.astype(np.float32) / 255})


@pytest.mark.parametrize("form", ["module", "module with training", "tf1", "keras"])
def test_frozen_graph_has_no_variables_and_gives_the_same_vectors(form, tmp_path, small_backbone):
    if form == "keras":
        backbone = small_backbone
    elif form == "tf1":
        backbone = locate(save_tf1_hub(tmp_path / "model"), input_range="-1..1")
    else:
        backbone = locate(save_module(tmp_path / "model", training=form != "module"), input_range="-1..1")
    network = backbone.network
    frozen = network.frozen_graph
    operations = {node.op for node in frozen.graph_def.node}
    assert not {op for op in operations if "Variable" in op or "VarHandle" in op or "PartitionedCall" in op}
    pixels = pictures(size=network.height)
    vectors = run_graph(frozen.graph_def, frozen.start, frozen.end, pixels)
    assert vectors.std() > 0
    np.testing.assert_allclose(vectors, network.bottlenecks(pixels), rtol=1e-4, atol=1e-5)


def test_a_tf1_hub_module_can_be_exported_as_a_saved_model(tmp_path):
    """As can any other form, whose graphs are frozen like this one; those of Keras are in test_efficientnet_lite."""
    from retrain._tensorflow import tf
    from retrain.backbones.conversion import Converter
    from retrain.export.saved_model import SavedModel
    from retrain.export.source import ExportSource
    from retrain.model.head import Head, Layer

    backbone = locate(save_tf1_hub(tmp_path / "model"))
    network = backbone.network
    rng = np.random.default_rng(0)
    head = Head((Layer(rng.normal(0, 1, (network.bottleneck_size, 3)).astype("f"), np.zeros(3, np.float32)),))
    SavedModel().write(
        ExportSource(backbone, "scores", Converter(tmp_path / "cache")).under(head, "abc"), tmp_path / "saved"
    )
    pixels = pictures(size=network.height)
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    found = loaded.signatures["pixels"](pixels=tf.constant(pixels.astype(np.float32) / 255))["scores"].numpy()
    expected = tf.nn.softmax(head.logits(network.bottlenecks(pixels))).numpy()
    assert expected.std() > 0
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


# Keras Applications


@pytest.fixture(scope="module")
def small_model():
    """SMALL with random weights, and batch normalisations that are not the identity, for pictures of any size."""
    keras = import_keras()
    model = keras.applications.MobileNet(
        include_top=False, pooling="avg", weights=None, alpha=0.25, input_shape=(None, None, 3)
    )
    rng = np.random.default_rng(3)
    arrays = []
    for array in model.get_weights():
        if array.ndim == 1:
            arrays.append(array + rng.uniform(0, 0.2, array.shape))
        else:  # so scaled that the activations stay between 0 and 6
            inputs = array.size // (array.shape[3] if array.shape[3] > 1 else array.shape[2])
            arrays.append(rng.normal(0, inputs**-0.5, array.shape))
    model.set_weights(arrays)
    return model


@pytest.fixture(scope="module")
def small_weights(small_model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file for SMALL."""
    path = tmp_path_factory.mktemp("weights") / "small.weights.h5"
    small_model.save_weights(path)
    return path


@pytest.fixture(scope="module")
def small_backbone(small_weights) -> Backbone:
    """SMALL for pictures of another size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RETRAIN_BACKBONES", raising=False)
        backbone = locate(SMALL, weights=str(small_weights), input_size=64)
        _ = backbone.network
    return backbone


@pytest.mark.slow
def test_keras_network_gives_what_keras_gives(small_model, small_backbone):
    """At a size of its own; at the network's, see the downloads."""
    assert small_backbone.network.height == small_backbone.network.width == 64
    pixels = pictures(2, 64)
    assert_gives(small_backbone, keras_vectors(small_model, pixels), pixels)


def keras_vectors(model, pixels: np.ndarray) -> np.ndarray:
    from keras.applications.mobilenet import preprocess_input

    return model(preprocess_input(pixels.astype(np.float32)), training=False).numpy()


def test_unknown_keras_name_suggests_the_nearest_or_lists_the_known_ones():
    with pytest.raises(BackboneError, match=r"unknown backbone 'inceptoin_v3': .*; did you mean inception_v3\?"):
        _ = locate("inceptoin_v3").network
    with pytest.raises(
        BackboneError, match=r"unknown backbone 'zzz': .*\(convnext_base, .* and \d+ more; retrain backbones"
    ):
        _ = locate("zzz").network


@pytest.mark.parametrize("kind", ["another network", "another width", "garbage", "empty", "unknown suffix"])
def test_weights_that_do_not_fit_are_an_error(kind, tmp_path, small_weights):
    name, weights = SMALL, tmp_path / "bad.weights.h5"
    if kind == "another network":
        name, weights = "vgg16", small_weights
    elif kind == "another width":
        name, weights = "mobilenet_0.50_128", small_weights
    elif kind == "unknown suffix":
        weights = tmp_path / "weights.bin"
        weights.write_bytes(small_weights.read_bytes())
    else:
        weights.write_bytes(b"" if kind == "empty" else b"no HDF5 file")
    with pytest.raises(
        BackboneError, match=rf"backbone {name} with weights .*{weights.name} at \d+ x \d+ can't be"
    ) as caught:
        _ = locate(name, weights=str(weights), input_size=32).network
    assert "\n" not in str(caught.value)


def test_input_size_that_keras_does_not_take_is_an_error():
    with pytest.raises(
        BackboneError, match=r"backbone inception_v3.* at 32 x 32 can't be built: Input size must be at"
    ):
        _ = locate("inception_v3", input_size=32).network


def test_width_that_keras_does_not_offer_is_an_error():
    with pytest.raises(BackboneError, match=r"backbone mobilenet_v2_0\.40_96 at 96 x 96 can't be built: .*alpha"):
        _ = locate("mobilenet_v2_0.40_96").network


def test_other_keras_backend_is_an_error(monkeypatch):
    monkeypatch.setattr(import_keras().backend, "backend", lambda: "jax")
    with pytest.raises(BackboneError, match="Keras runs on jax, expected tensorflow: set KERAS_BACKEND=tensorflow"):
        _ = locate("mobilenet_v2").network


def test_every_network_of_keras_applications_has_a_name_here():
    from retrain.backbones.keras_networks import _keras_application

    builders = {each for each in dir(import_keras().applications) if each[0].isupper()}
    named = {_keras_application(locate(name).source).__name__ for name in KERAS_NAMES}
    assert named == builders


@pytest.mark.parametrize("name", KERAS_NAMES)
def test_keras_name_means_the_network_that_it_names(name):
    from retrain.backbones.keras_networks import _keras_application

    build = _keras_application(BackboneSource(name, "keras", None, name))
    assert build.__name__.lower() == name.replace("_", "")


@pytest.mark.parametrize("name", KERAS_NAMES)
def test_keras_name_comes_with_the_input_size_of_the_network(name, monkeypatch):
    """The size that the builder itself calls its default; nothing is built."""
    from keras.src.applications import imagenet_utils

    from retrain.backbones.keras_networks import _keras_application

    class Stop(Exception):
        pass

    def stop(input_shape, default_size, *args, **kwargs):
        raise Stop(default_size)

    monkeypatch.setattr(imagenet_utils, "obtain_input_shape", stop)
    source = locate(name).source
    assert source.input_size == KERAS_NAMES[name]
    if not name.startswith("mobilenet_v3"):  # it has its size elsewhere
        with pytest.raises(Stop, match=rf"^{source.input_size}$"):
            _keras_application(source)(weights=None)


# Downloads


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()
    gc.collect(1)


@pytest.fixture
def archive(server: Server, tmp_path: Path) -> str:
    """The URL of a SavedModel."""
    server.body = pack(save_module(tmp_path / "model"))
    return server.url + "models/ours.tar.gz"


def test_url_of_an_archive_is_downloaded_once(archive, server):
    assert_gives(locate(archive), expected(pictures()), pictures())
    assert server.requests == ["/models/ours.tar.gz"]
    assert_gives(locate(archive), expected(pictures()), pictures())
    assert len(server.requests) == 1


def test_url_of_an_archive_takes_the_options(archive):
    assert_gives(locate(archive, input_range="-1..1"), expected(pictures(), -1, 1), pictures())


def test_fingerprint_of_a_url_is_that_of_its_files(archive, server, tmp_path):
    assert locate(archive).fingerprint == locate(tmp_path / "model").fingerprint
    assert len(server.requests) == 1


@pytest.fixture(scope="module")
def keras_file(small_model, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The weights of SMALL in the older format that Keras downloads."""
    import h5py
    from keras.src.legacy.saving import legacy_h5_format

    path = tmp_path_factory.mktemp("weights") / "small.h5"
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, small_model)
    return path.read_bytes()


@pytest.fixture
def weights_folder(server: Server, keras_file: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder into which the weights of SMALL are downloaded from the server."""
    from keras.src.applications import mobilenet

    monkeypatch.setattr(mobilenet, "BASE_WEIGHT_PATH", server.url)
    server.body = keras_file
    return tmp_path / "xdg" / "retrain" / "keras"


def test_keras_weights_are_downloaded_once_and_told_apart(
    weights_folder, server, small_model, tmp_path, capfd, monkeypatch
):
    pixels = pictures(size=128)
    first = locate(SMALL)
    assert_gives(first, keras_vectors(small_model, pixels), pixels)
    assert server.requests == ["/" + SMALL_FILE]
    assert locate(SMALL).fingerprint == first.fingerprint
    assert server.requests == ["/" + SMALL_FILE]
    assert [path.name for path in weights_folder.glob("*.h5")] == [SMALL_FILE]
    assert capfd.readouterr().out == ""
    # known without the network, for this very file
    with monkeypatch.context() as patch:
        patch.setattr("retrain.backbones.backbone.load_network", lambda source: pytest.fail("loaded"))
        assert locate(SMALL).fingerprint == first.fingerprint
    # they can be taken to a machine without a connection
    path = fetch_backbone(SMALL, tmp_path / "to")
    assert path == tmp_path / "to" / SMALL_FILE
    assert len(server.requests) == 1
    for place in weights_folder.iterdir():
        place.unlink()
    with monkeypatch.context() as patch:
        patch.setenv("RETRAIN_BACKBONES", str(tmp_path / "to"))
        assert locate(SMALL).fingerprint == first.fingerprint
        assert len(server.requests) == 1
    # other weights have another fingerprint
    values = small_model.get_weights()[0].tobytes()
    assert server.body.count(values) == 1
    server.body = server.body.replace(values, b"\0" * len(values))
    assert locate(SMALL).fingerprint != first.fingerprint


def test_keras_weights_that_can_not_be_had_are_an_error_that_says_what_to_do(weights_folder, monkeypatch):
    from keras.src.applications import mobilenet

    monkeypatch.setattr(mobilenet, "BASE_WEIGHT_PATH", refused())
    wanted = (
        rf"weights of backbone {SMALL} can't be downloaded .*not on this machine.*fetch {SMALL} --to DIR.*--weights"
    )
    with pytest.raises(BackboneUnavailableError, match=wanted) as caught:
        _ = locate(SMALL).network
    assert "\n" not in str(caught.value)
    assert not list(weights_folder.glob("*.h5"))
