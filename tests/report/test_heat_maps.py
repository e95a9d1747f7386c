"""Heat maps: exact where they can be."""

import dataclasses
import io
import itertools

import numpy as np
import pytest
from PIL import Image

from retrain.data.picture_form import PictureForm
from retrain.model.head import Head, Layer
from retrain.report.heat_maps import HeatMaps, Mapped, overlay

SMALL = PictureForm(4, 4)


class Activations:
    """Stands for a network: pixels are activations already."""

    shape = (4, 4, 3)

    def __init__(self, is_mean=True):
        self.is_mean = is_mean

    def of(self, pixels):
        return pixels.astype(np.float32) / 50


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3)).astype(np.uint8)


def make_head(*widths):
    rng = np.random.default_rng(1)
    pairs = itertools.pairwise(widths)
    return Head(tuple(Layer(rng.normal(size=p).astype("f"), rng.normal(size=p[1]).astype("f")) for p in pairs))


def logits_of(head, activations, pixels):
    values = activations.of(pixels)
    pooled = values.mean(axis=(1, 2)) if activations.is_mean else values.max(axis=(1, 2))
    return head.logits(pooled)


@pytest.mark.parametrize("is_mean", [True, False])
def test_the_places_add_up_to_the_logit_less_its_bias(pixels, is_mean):
    head, activations = make_head(3, 5), Activations(is_mean)
    labels = np.array([0, 1, 2, 3, 4, 0])
    logits = logits_of(head, activations, pixels)
    for row, mapped in enumerate(HeatMaps(activations, head, SMALL).of(pixels, labels)):
        label = labels[row]
        assert mapped.label == label
        assert mapped.logit == pytest.approx(logits[row, label], abs=1e-4)
        assert mapped.places.sum() + head.layers[0].biases[label] == pytest.approx(mapped.logit, abs=1e-4)


@pytest.mark.parametrize("is_mean", [True, False])
def test_with_a_hidden_layer_it_is_the_gradient_times_the_activation(pixels, is_mean):
    head, activations = make_head(3, 8, 5), Activations(is_mean)
    maps = HeatMaps(activations, head, SMALL)
    [mapped] = maps.of(pixels[:1], np.array([2]))
    values = activations.of(pixels[:1])[0].astype(float)

    def logit(changed):
        pooled = changed.mean(axis=(0, 1)) if is_mean else changed.max(axis=(0, 1))
        return float(head.logits(pooled[np.newaxis].astype(np.float32))[0, 2])

    step = 0.05
    for y, x in ((0, 0), (1, 3), (2, 2)):
        slope = 0.0
        for channel in range(3):
            up, down = values.copy(), values.copy()
            up[y, x, channel] += step
            down[y, x, channel] -= step
            gradient = (logit(up) - logit(down)) / (2 * step)
            if not is_mean:  # at the maximum, a difference in one direction alone changes it
                gradient = (
                    (logit(values) - logit(down)) / step if values[y, x, channel] == values[..., channel].max() else 0
                )
            slope += gradient * values[y, x, channel]
        assert mapped.places[y, x] == pytest.approx(slope, abs=0.02)


def test_the_sentence_says_whether_it_is_exact():
    assert HeatMaps(Activations(), make_head(3, 5), SMALL).is_exact
    one = make_head(3, 5)
    many = dataclasses.replace(one, thresholds=np.full(5, 0.5, np.float32))
    assert "exact" in HeatMaps(Activations(), one, SMALL).sentence
    assert HeatMaps(Activations(), one, SMALL).sentence.endswith("before all scores are made to add up to 1.")
    assert HeatMaps(Activations(), many, SMALL).sentence.endswith("before it is made a number from 0 to 1.")
    hidden, maximum = (
        HeatMaps(Activations(), make_head(3, 4, 5), SMALL),
        HeatMaps(Activations(False), make_head(3, 5), SMALL),
    )
    assert not hidden.is_exact
    assert "gradient times activation" in hidden.sentence
    assert "hidden layer" in hidden.sentence
    assert "maximum" in maximum.sentence


def test_the_overlay_is_red_where_a_place_spoke_for_the_label():
    places = np.array([[2.0, 1.0], [-5.0, 0.0]], np.float32)
    image = np.asarray(Image.open(io.BytesIO(overlay(Mapped(places, 0, 0.0), SMALL, (60, 20)))))
    assert image.shape == (2, 2, 4)
    assert image[..., 3].tolist() == [[190, 95], [0, 0]]
    clear = np.asarray(Image.open(io.BytesIO(overlay(Mapped(-places * 0, 0, 0.0), SMALL, (60, 20)))))
    assert clear[..., 3].max() == 0


def test_an_overlay_lies_where_the_network_looked():
    """On a picture of 60 x 20: of its middle, or of all of it, which was between two grey bars."""
    places = np.ones((4, 4), np.float32)
    places[:, :2] = 0  # the right half spoke for the label
    cropped, padded = (
        np.asarray(Image.open(io.BytesIO(overlay(Mapped(places, 0, 0.0), PictureForm(8, 8, fit), (20, 60)))))[..., 3]
        for fit in ("crop", "pad")
    )
    assert cropped.shape == padded.shape == (20, 60)
    assert not cropped[:, :28].any()
    assert (cropped[:, 32:40] > 150).all()
    assert not cropped[:, 41:].any()
    assert not padded[:, :20].any()
    assert (padded[:, 40:] > 150).all()
