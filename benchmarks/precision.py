"""What fewer bits cost: heads trained on bottlenecks of each precision, all tested on float32 bottlenecks.

    python benchmarks/precision.py IMAGE_DIR [--backbone NAME] [--splits N] [--cache-dir DIR]

This is what happens to a user's model: the exported graph computes in float32, whatever its head was trained on.
"""

import argparse
import tempfile

import numpy as np

from retrain.backbones.backbone import locate_backbone
from retrain.backbones.precision import choose_extractor
from retrain.backbones.quantization import mean_cosine
from retrain.backbones.representative_pictures import RepresentativePictures
from retrain.cache.vectors import LabelledBottlenecks
from retrain.data.image_folder import read_image_folder
from retrain.data.labelled_pictures import LabelledPictures
from retrain.errors import BackboneError
from retrain.extraction.pass_one import extract_bottlenecks, open_cache
from retrain.options import (
    PRECISIONS,
    BackboneOptions,
    ExtractionOptions,
    RunOptions,
    TrainingOptions,
)
from retrain.training.head_trainer import HeadTrainer

TEST_SHARE = 0.2


def bottlenecks(folder: LabelledPictures, backbone, precision: str, cache_dir: str) -> np.ndarray:
    options = ExtractionOptions(cache_dir=cache_dir)
    extractor = choose_extractor(backbone, precision, RepresentativePictures(folder, cache_dir))
    cache = open_cache(extractor, options)
    done = extract_bottlenecks(folder, extractor, cache, RunOptions(extraction=options))
    return cache.read(cache.find(done.keys))


def accuracies(vectors: np.ndarray, exact: np.ndarray, labels: np.ndarray, splits: int) -> np.ndarray:
    """Accuracy of heads trained on 80% of the vectors and tested on the float32 vectors of the rest: (splits,)."""
    trainer = HeadTrainer(LabelledBottlenecks(vectors, labels), labels.max() + 1)
    results = []
    for split in range(splits):
        order = np.random.default_rng(split).permutation(len(labels))
        test, train = np.split(order, [int(len(labels) * TEST_SHARE)])
        head = trainer.train(train, test[:0], TrainingOptions(seed=split, eval_step_interval=4000)).head
        results.append((head.logits(exact[test]).argmax(axis=1) == labels[test]).mean())
    return np.array(results)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image_dir")
    parser.add_argument("--backbone", default="inception_v3")
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--cache-dir", help="kept, instead of a temporary folder")
    args = parser.parse_args()
    folder = read_image_folder(args.image_dir)
    labels = np.array([sample.label for sample in folder.samples], np.int32)
    backbone = locate_backbone(BackboneOptions(backbone=args.backbone))
    vectors = {}
    with tempfile.TemporaryDirectory() as place:
        for precision in PRECISIONS:
            try:
                vectors[precision] = bottlenecks(folder, backbone, precision, args.cache_dir or place)
            except BackboneError as error:
                print(f"{precision}: {error}")
    exact = vectors["float32"]
    print(f"{args.backbone}, {len(labels)} pictures, {args.splits} splits of 80/20, 4,000 steps of 100")
    print("trained on     mean cosine   accuracy on float32   standard error   paired difference")
    reference = None
    for precision, values in vectors.items():
        results = accuracies(values, exact, labels, args.splits)
        reference = results if reference is None else reference
        error = results.std(ddof=1) / np.sqrt(len(results))
        difference = results - reference
        spread = difference.std(ddof=1) / np.sqrt(len(results))
        print(
            f"{precision:12} {mean_cosine(values, exact):13.4f} {results.mean():21.2%} {error:16.2%}"
            f"   {difference.mean():+.2%} +- {spread:.2%}"
        )


if __name__ == "__main__":
    main()
