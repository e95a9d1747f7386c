"""Fine-tuning from cached activations, against Keras's fit of the whole network with its lower layers frozen.

    RETRAIN_BACKBONES=... python benchmarks/finetuning.py [IMAGE_DIR]

Both train the same layers of MobileNetV2 at 160 x 160 and a softmax layer with Adam, in batches of 32. Keras gets
decoded pixels from memory, which favours it: from files, it would decode every picture in every epoch. The two take
turns, an epoch each, so that a busy machine slows both. Medians.
"""

import argparse
import time

import numpy as np

from retrain.backbones.activations import activations_at
from retrain.backbones.backbone import locate_backbone
from retrain.backbones.conversion import Converter
from retrain.backbones.graph import make_trunk
from retrain.backbones.graph_cut import find_cut
from retrain.cache.vectors import LabelledBottlenecks
from retrain.data.decoding import decode_image
from retrain.data.image_folder import read_image_folder
from retrain.data.picture_form import PictureForm
from retrain.options import BackboneOptions, FineTuningOptions, TrainingOptions
from retrain.training.fine_tuning import FineTuner, FineTuningSession, fine_tuning_options
from retrain.training.parameters import initial_head

SIZE, CLASSES = 160, 10


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image_dir", nargs="?", help="pictures; noise without it")
    parser.add_argument("--pictures", type=int, default=320)
    parser.add_argument("--rounds", type=int, default=5, help="epochs of each")
    parser.add_argument("--layers", nargs="+", default=["130", "134", "143", "151"], help="as for --fine-tune-from")
    args = parser.parse_args()
    pixels = read_pixels(args.image_dir, args.pictures)
    labels = np.random.default_rng(0).integers(0, CLASSES, len(pixels)).astype(np.int32)
    backbone = locate_backbone(BackboneOptions("mobilenet_v2", input_size=SIZE))
    network = backbone.network
    trunk = make_trunk(network)
    print(f"{len(pixels)} pictures, {SIZE} x {SIZE}; seconds for an epoch, medians of {args.rounds}")
    columns = f"{'activations':>14} {'KiB each':>9} {'lower part once':>16} {'cached':>8} {'Keras':>8} ratio"
    print(f"{'from layer':24} {columns}")
    for layer in args.layers:
        cut = find_cut(trunk, FineTuningOptions(fine_tune_from=layer))
        below = activations_at(cut, backbone, trunk, Converter("cache")).network
        started = time.perf_counter()
        activations = np.concatenate([below.bottlenecks(part) for part in np.array_split(pixels, len(pixels) // 32)])
        once = time.perf_counter() - started
        whole = keras_epoch(network._owner, int(layer), pixels, labels)
        ours = cached_epochs(trunk, cut, activations, labels, args.rounds + 1)
        pairs = [(next(ours), whole()) for _ in range(args.rounds + 1)][1:]  # the first one builds the gradients
        cached, fit = np.median(pairs, axis=0)
        ratio = np.median([slow / fast for fast, slow in pairs])
        shape = " x ".join(map(str, cut.shape))
        print(
            f"{layer + ' ' + cut.layers[0]:24} {shape:>14} {2 * cut.size / 1024:9.1f} {once:16.2f} {cached:8.2f} "
            f"{fit:8.2f} {ratio:5.1f}",
            flush=True,
        )


def read_pixels(image_dir, count):
    if image_dir is None:
        return np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3)).astype(np.uint8)
    folder = read_image_folder(image_dir)
    paths = [folder.root / sample.path for sample in folder.samples][:: max(1, len(folder.samples) // count)][:count]
    return np.stack([decode_image(path.read_bytes(), PictureForm(SIZE, SIZE)) for path in paths])


def cached_epochs(trunk, cut, activations, labels, epochs):
    """The seconds of each epoch, one at a time."""
    import queue
    import threading

    options = FineTuningOptions(fine_tune_from="0", fine_tune_epochs=epochs)
    tuner = FineTuner(trunk, cut, LabelledBottlenecks(activations, labels), CLASSES)
    training = fine_tuning_options(TrainingOptions(optimizer="adam"), options, len(labels))
    head = initial_head(trunk.bottleneck_size, CLASSES, 0)
    turns, seconds = queue.Queue(), queue.Queue()
    started = [0.0]

    def after_epoch(epoch, *_):
        if epoch:
            seconds.put(time.perf_counter() - started[0])
        if epoch < epochs:
            turns.get()
            started[0] = time.perf_counter()

    def work():
        session = FineTuningSession(after_epoch=after_epoch)
        tuner.train(head, np.arange(len(labels)), np.zeros(0, np.int64), training, session)

    threading.Thread(target=work, daemon=True).start()
    while True:
        turns.put(None)
        yield seconds.get()


def keras_epoch(model, first, pixels, labels):
    import keras

    model.trainable = True
    for number, layer in enumerate(model.layers):
        layer.trainable = number >= first
    inputs = keras.Input(model.input.shape[1:])
    values = model(keras.layers.Rescaling(1 / 127.5, -1)(inputs), training=False)
    whole = keras.Model(inputs, keras.layers.Dense(CLASSES, activation="softmax")(values))
    whole.compile(keras.optimizers.Adam(1e-4), "sparse_categorical_crossentropy")

    def epoch():
        started = time.perf_counter()
        whole.fit(pixels, labels, batch_size=32, epochs=1, verbose=0)
        return time.perf_counter() - started

    return epoch


if __name__ == "__main__":
    main()
