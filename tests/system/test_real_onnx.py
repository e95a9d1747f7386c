"""A vision transformer, turned into ONNX by tf2onnx, with random weights; MobileNetV2 is in test_real_networks."""

import functools
import json
import os

import numpy as np
import pytest
from support.command import retrain
from support.pictures import draw_picture

from retrain.backbones.backbone import locate_backbone
from retrain.data.decoding import decode_image
from retrain.data.picture_form import PictureForm
from retrain.options import BackboneOptions

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
tf2onnx = pytest.importorskip("tf2onnx", reason="the package tf2onnx is not installed")

pytestmark = pytest.mark.network


def make_transformer(side=32, patch=8, width=24, depth=2):
    """A small vision transformer (Dosovitskiy et al., ICLR 2021), with random weights: pixels to a sequence."""
    import keras

    layers = keras.layers
    gelu = functools.partial(keras.activations.gelu, approximate=True)  # tf2onnx knows no Erfc
    keras.utils.set_random_seed(0)

    class FirstToken(layers.Layer):
        def build(self, shape):
            self.token = self.add_weight(shape=(1, 1, width), initializer="random_normal")
            self.places = self.add_weight(shape=(1, shape[1] + 1, width), initializer="random_normal")

        def call(self, values):
            tokens = keras.ops.tile(self.token, (keras.ops.shape(values)[0], 1, 1))
            return keras.ops.concatenate([tokens, values], axis=1) + self.places

    pixels = keras.Input((side, side, 3), name="pixel_values")
    values = layers.Conv2D(width, patch, patch)(pixels)
    values = FirstToken()(layers.Reshape((-1, width))(values))
    for _ in range(depth):
        inner = layers.LayerNormalization(epsilon=1e-6)(values)
        values = layers.Add()([values, layers.MultiHeadAttention(4, width // 4)(inner, inner)])
        inner = layers.Dense(4 * width, activation=gelu)(layers.LayerNormalization(epsilon=1e-6)(values))
        values = layers.Add()([values, layers.Dense(width)(inner)])
    return keras.Model(pixels, layers.LayerNormalization(epsilon=1e-6, name="last_hidden_state")(values))


@pytest.fixture(scope="module")
def transformer(tmp_path_factory):
    """A folder as Hugging Face's hub has them, and the model it was made of."""
    from retrain._tensorflow import tf

    folder = tmp_path_factory.mktemp("transformer")
    model = make_transformer()
    function = tf.function(
        lambda pixel_values: model(pixel_values, training=False),
        input_signature=[tf.TensorSpec([None, 32, 32, 3], tf.float32, name="pixel_values")],
    )
    (folder / "vit" / "onnx").mkdir(parents=True)
    tf2onnx.convert.from_function(
        function,
        input_signature=function.input_signature,
        opset=18,
        inputs_as_nchw=["pixel_values:0"],
        output_path=str(folder / "vit" / "onnx" / "model.onnx"),
    )
    config = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.6, 0.7], "size": {"height": 32, "width": 32}}
    (folder / "vit" / "preprocessor_config.json").write_text(json.dumps(config))
    for label, name in enumerate(["cat", "dog", "owl"]):
        (folder / "pictures" / name).mkdir(parents=True)
        for number in range(24):
            draw_picture(number, label, 40).save(folder / "pictures" / name / f"{number}.png")
    return folder, model


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pooling", "take"),
    [([], lambda values: values[:, 0]), (["--pooling", "mean"], lambda values: values.mean(1))],
    ids=["cls", "mean"],
)
def test_a_vision_transformer_goes_all_the_way(transformer, pooling, take, tmp_path):
    folder, model = transformer
    file = os.path.join("vit", "onnx", "model.onnx")
    located = locate_backbone(BackboneOptions(str(folder / file), pooling=pooling[1] if pooling else None))
    paths = sorted((folder / "pictures").glob("*/*"))[::9]
    pixels = np.stack([decode_image(path.read_bytes(), PictureForm(32, 32)) for path in paths])
    values = (pixels / np.float32(255) - [0.5, 0.4, 0.3]) / [0.5, 0.6, 0.7]
    expected = take(model(values.astype(np.float32), training=False).numpy())
    np.testing.assert_allclose(located.network.bottlenecks(pixels), expected, rtol=0, atol=1e-4)
    options = ["--optimizer", "lbfgs", "--model-dir", tmp_path / "model", *pooling]
    done = retrain("train", "pictures", "--backbone", file, *options, cwd=folder, check=0)
    assert "classifier.onnx" in done.stdout
    found = json.loads(retrain("evaluate", tmp_path / "model", "pictures", "--json", cwd=folder, check=0).stdout)
    assert found["accuracy"] > 0.9
