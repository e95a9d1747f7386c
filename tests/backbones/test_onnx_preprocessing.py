"""How pixels become numbers: options, preprocessor_config.json, and what of it is not done."""

import json
from pathlib import Path

import numpy as np
import pytest

from retrain.backbones.onnx_preprocessing import CONFIG, preprocessing_of
from retrain.errors import BackboneError, UsageError
from retrain.options import BackboneOptions

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
DINOV2 = IMAGENET | {
    "do_resize": True,
    "size": {"shortest_edge": 256},
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "do_rescale": True,
    "rescale_factor": 0.00392156862745098,
    "do_normalize": True,
    "resample": 3,
    "image_processor_type": "BitImageProcessor",
}
SIGLIP = {
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "rescale_factor": 0.00392156862745098,
    "resample": 2,
    "size": {"height": 256, "width": 224},
}


def read(config=None, **options):
    if config is not None:
        Path(CONFIG).write_text(config if isinstance(config, str) else json.dumps(config))
    return preprocessing_of(Path("network.onnx"), BackboneOptions(backbone="network.onnx", **options))


def values(found, pixel):
    """What becomes of a pixel (r, g, b) of 0 to 255."""
    ordered = np.array(pixel if found.channels == "rgb" else pixel[::-1], np.float64)
    return (ordered / 255 * found.scale + found.offset).tolist()


PIXEL = (0, 51, 255)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [-0.485 / 0.229, (0.2 - 0.456) / 0.224, (1 - 0.406) / 0.225]),
        ({"input_range": "0..1"}, [0, 0.2, 1]),
        ({"input_range": "-1..1"}, [-1, -0.6, 1]),
        ({"input_range": "0..255", "input_channels": "bgr"}, [255, 51, 0]),
        ({"input_mean": "0.5", "input_std": "0.5"}, [-1, -0.6, 1]),
        ({"input_std": "2,4,5"}, [0, 0.05, 0.2]),
        ({"input_range": "0..255", "input_mean": "103.9,116.8,123.7", "input_channels": "bgr"}, [151.1, -65.8, -123.7]),
    ],
)
def test_without_a_file_options_decide(options, expected):
    found = read(**options)
    assert values(found, PIXEL) == pytest.approx(expected)
    assert found.origin == ("by your options" if options else f"assumed, there is no {CONFIG}")


@pytest.mark.parametrize(
    ("config", "expected", "size"),
    [
        (DINOV2, [-0.485 / 0.229, (0.2 - 0.456) / 0.224, (1 - 0.406) / 0.225], (224, 224)),
        (SIGLIP, [-1, -0.6, 1], (256, 224)),
        ({"do_rescale": False, "do_normalize": False, "size": 96}, [0, 51, 255], (96, 96)),
        ({"rescale_factor": 1 / 127.5, "rescale_offset": True}, [-1, -0.6, 1], None),  # EfficientNet
        ({"rescale_factor": 1 / 127.5, "offset": True}, [-1, -0.6, 1], None),  # ViViT
        ({"do_flip_channel_order": True, "size": {"shortest_edge": 288}}, [1, 0.2, 0], (288, 288)),  # MobileViT
        ({"do_flip_channel_order": True, "image_mean": [0, 0, 1], "image_std": [1, 1, 2]}, [0, 0.2, 0], None),
        ({"image_mean": 0.5, "image_std": 0.25}, [-2, -1.2, 2], None),
    ],
)
def test_a_file_beside_the_network_decides(config, expected, size):
    found = read(config)
    assert values(found, PIXEL) == pytest.approx(expected)
    assert (found.size, found.origin) == (size, f"by {CONFIG}")


def test_an_option_goes_before_the_file():
    found = read(SIGLIP, input_mean="0", input_channels="bgr")
    assert values(found, PIXEL) == pytest.approx([2, 0.4, 0])
    assert found.origin == f"by {CONFIG} and your options"


def test_the_file_may_lie_above_a_folder_onnx():
    Path("siglip/onnx").mkdir(parents=True)
    Path("siglip", CONFIG).write_text(json.dumps(SIGLIP))
    found = preprocessing_of(Path("siglip/onnx/vision_model.onnx"), BackboneOptions())
    assert found.origin == f"by {CONFIG}"
    assert preprocessing_of(Path("siglip/other/vision_model.onnx"), BackboneOptions()).origin.startswith("assumed")


@pytest.mark.parametrize(
    ("changes", "unmet"),
    [
        ({}, ()),
        ({"resample": 3}, ("bicubic resizing",)),
        ({"resample": 3, "do_resize": False}, ()),
        ({"crop_size": {"height": 256, "width": 224}}, ()),
        ({"crop_size": 224}, ("a crop of the middle",)),
        ({"crop_size": 224, "do_center_crop": False}, ()),
        ({"size": 224, "crop_size": 224}, ("a crop of the middle",)),  # CLIP's first form
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.875}, ("a crop of the middle",)),  # ConvNeXt
        ({"size": {"shortest_edge": 384}, "crop_pct": 1.0}, ("a size that keeps the picture's proportions",)),
        ({"size": {"longest_edge": 1024}, "do_pad": True}, ("a size that keeps the picture's proportions", "padding")),
        ({"include_top": True}, ("a second division by image_std",)),
    ],
)
def test_what_is_not_done_is_told(changes, unmet):
    assert read(SIGLIP | changes).unmet == unmet


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "not JSON in UTF-8"),
        ("[]", "the document is .*, expected an object"),
        ({"image_mean": [0.5, 0.5]}, r"image_mean is \[0.5, 0.5\], expected a number, or a list of 3 numbers"),
        ({"image_mean": [1, 1, 10**400], "image_std": 1}, "image_mean is .*, expected a number"),
        ({"do_normalize": True}, "image_mean is missing"),
        ({"image_mean": 0, "image_std": [1, 0, 1]}, r"image_std is \[1.0, 0.0, 1.0\], expected numbers above 0"),
        ({"do_rescale": "yes"}, 'do_rescale is "yes", expected true or false'),
        ({"size": {"side": 3}}, "size has side, expected height and width"),
        ({"size": {"height": 5}}, "size.width is missing"),
        ({"size": {"height": 5000, "width": 1}}, "size.height is 5000, expected a whole number from 1 to 4096"),
        ({"resample": 9}, "resample is 9"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused(config, message):
    with pytest.raises(BackboneError, match=f"{CONFIG} can't be used: .*{message}.*; correct or remove it"):
        read(config)


def test_a_file_that_cannot_be_read_is_refused(monkeypatch):
    Path(CONFIG).write_text("{}")
    monkeypatch.setattr(Path, "read_bytes", lambda _: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    with pytest.raises(BackboneError, match=f"can't read {CONFIG}: Permission denied; correct or remove it"):
        read()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_mean": "0.5,0.5"}, "--input-mean 0.5,0.5: expected a number, or one for each channel"),
        ({"input_mean": "nan"}, "--input-mean nan: expected a number"),
        ({"input_std": "a"}, "--input-std a: expected a number"),
        ({"input_std": "1,0,1"}, "--input-std 1,0,1: must be above 0"),
        ({"pooling": "max"}, "--pooling max: not one of cls, mean, none"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        BackboneOptions(**options)
