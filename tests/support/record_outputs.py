"""Record what the commands do: every file and document that they leave, with times, versions and places masked.

    python tests/support/record_outputs.py FOLDER

Run it before and after a change that should change nothing, on the same machine, and compare with `diff -r`. It takes
two minutes, uses pictures and networks of the shared folder of test data, and runs the package that Python finds.
"""

import csv
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

DATA = Path(os.environ.get("RETRAIN_TEST_DATA", Path(__file__).resolve().parents[2].parent / "shared")).resolve()
PER_CLASS = 24
FAST = f"--backbone mobilenet_v2 --weights {DATA}/backbones/mobilenet_v2_1.0_224.weights.h5 --input-size 96"
CACHED = f"{FAST} --cache-dir cache"
TRAIN = f"train flowers {CACHED} --seed 5 --quiet --model-dir"

# In this order, in one working folder: later commands find what earlier ones made.
COMMANDS = f"""
help: --help
inspect: inspect flowers
inspect-json: inspect flowers --json
inspect-zoo: inspect zoo --json --list
inspect-sheet: inspect flowers --augment 2 --rotate 20 --flip --sheet sheet.png
extract: extract flowers {CACHED} --json
extract-again: extract flowers {CACHED}
extract-zoo: extract zoo {CACHED} --json
train: {TRAIN} plain --steps 200
train-json: {TRAIN} json --steps 200 --json
train-verbose: train flowers {CACHED} --seed 5 --model-dir verbose --steps 50
train-plots: {TRAIN} plots --steps 200 --plots --calibrate --print-misclassified
train-lbfgs: {TRAIN} lbfgs --steps 200 --optimizer lbfgs --l2 0.001
train-adam: {TRAIN} adam --epochs 20 --optimizer adam --hidden-units 32 --dropout 0.3 --patience 5 --label-smoothing 0.1
train-augment: {TRAIN} augment --steps 200 --augment 2 --flip --rotate 10 --zoom 10 --brightness 10
train-fine: {TRAIN} fine --steps 200 --plots --fine-tune-layers 2 --fine-tune-epochs 2
train-counts: {TRAIN} counts --steps 200 --train-per-class 10 --validation-per-class 5
train-lite0: train flowers --backbone efficientnet_lite0 --input-size 96 --steps 100 --quiet --model-dir lite0
crossval: crossval flowers {CACHED} --steps 200 --folds 3
crossval-json: crossval flowers {CACHED} --steps 200 --folds 3 --json
predict: predict plain flowers/roses --top 2
predict-json: predict plain flowers --wrong --json
predict-fine: predict fine flowers/tulips --json
evaluate: evaluate plain flowers --cache-dir cache --output evaluation
evaluate-json: evaluate lite0 flowers --cache-dir cache --json
cache-info: cache info --cache-dir cache
cache-info-json: cache info --cache-dir cache --json
cache-verify: cache verify --cache-dir cache
cache-compact: cache compact --cache-dir cache
cache-verify-json: cache verify --cache-dir cache --json
backbones-json: backbones --json
original: --image_dir flowers --how_many_training_steps 60 --output_graph o/graph.pb --output_labels o/labels.txt \
 --summaries_dir o/logs --bottleneck_dir cache --tfhub_module tiny --saved_model_dir o/saved \
 --print_misclassified_test_images
wrong-option: train flowers --bach-size 3
wrong-value: train flowers --batch-size 0
wrong-folder: train nowhere
wrong-model: predict flowers flowers/roses
"""

UNSTABLE = r"events\.out|fingerprint\.pb$|\.claims$|.*\.npz$"  # files with times, paths or random numbers in them

MASKS = [
    (r"segment-[0-9a-f]{32}", "segment-NAME"),
    (r"events\.out\.tfevents\.[\w.]+", "events"),
    (r'("(?:oldest|newest)": )[0-9.]+', r"\1TIME"),
    (r"\d+ \w+ ago, the newest \d+ \w+", "TIME ago, the newest TIME"),
    (r'("[a-z_]*(?:seconds|per_second|mtime|created|date)[a-z_]*": )[-0-9.e+]+', r"\1TIME"),
    (r"\b\d+(?:\.\d+)? (?:s|ms|min|pictures/s|steps/s)\b", "TIME"),
    (r"in \d+(?:\.\d+)? seconds?", "in TIME"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?", "DATE"),
]


def masked(text: str, work: Path) -> str:
    """The text without what differs from run to run."""
    text = text.replace(str(work), "WORK").replace(str(DATA), "DATA")
    for pattern, word in MASKS:
        text = re.sub(pattern, word, text)
    return text


def without_times(document: object) -> object:
    """A JSON document without durations, rates, versions and digests of files that hold such."""
    if isinstance(document, dict):
        gone = ("timings", "versions", "sha256", "digest", "seal", "seconds", "pictures_per_second")
        return {key: "MASKED" if key in gone else without_times(value) for key, value in document.items()}
    return [without_times(value) for value in document] if isinstance(document, list) else document


def written(path: Path, work: Path) -> str:
    """A file as lines to compare: its text, masked, or its digest."""
    if path.suffix == ".json":
        return masked(json.dumps(without_times(json.loads(path.read_text())), indent=1, ensure_ascii=False), work)
    if path.suffix == ".csv":
        rows = list(csv.reader(path.open(newline="")))
        column = rows[0].index("seconds") if rows and "seconds" in rows[0] else None
        return "\n".join(",".join("TIME" if n == column else cell for n, cell in enumerate(row)) for row in rows)
    if path.suffix == ".h5":
        return contents_of_hdf5(path)
    if path.suffix == ".txt":
        lines = path.read_text().splitlines()
        return masked("\n".join(sorted(lines) if "cache" in path.parts else lines), work)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def contents_of_hdf5(path: Path) -> str:
    """Names, shapes, types and digests of everything in an HDF5 file."""
    import h5py

    lines = []
    with h5py.File(path) as file:
        if "key" in file:  # a segment, whose rows come in the order in which threads finish
            columns = zip(*(file[name][:] for name in sorted(file)), strict=True)
            return "\n".join(sorted(hashlib.sha256(b"".join(v.tobytes() for v in row)).hexdigest() for row in columns))
        lines.append(repr(sorted((name, str(value)) for name, value in file.attrs.items())))

        def visit(name: str, item: object) -> None:
            if isinstance(item, h5py.Dataset):
                value = item[()]
                content = repr(value).encode() if item.dtype.kind == "O" else value.tobytes()
                lines.append(f"{name} {item.shape} {item.dtype} {hashlib.sha256(content).hexdigest()}")
            attributes = sorted((key, str(value)) for key, value in item.attrs.items())
            lines.append(f"{name} {attributes}")

        file.visititems(visit)
    return "\n".join(lines)


def main() -> None:
    """Run the commands in FOLDER/work, and write what they did to FOLDER/recorded."""
    place = Path(sys.argv[1]).resolve()
    work, recorded = place / "work", place / "recorded"
    shutil.rmtree(place, ignore_errors=True)
    recorded.mkdir(parents=True)
    (work / "home").mkdir(parents=True)
    for folder in sorted(path for path in (DATA / "images" / "flowers").iterdir() if path.is_dir()):
        (work / "flowers" / folder.name).mkdir(parents=True)
        for picture in sorted(folder.iterdir())[:PER_CLASS]:
            shutil.copyfile(picture, work / "flowers" / folder.name / picture.name)
    shutil.copytree(DATA / "images" / "zoo", work / "zoo")
    write_tiny_backbone(work / "tiny")
    environment = {"HOME": str(work / "home"), "COLUMNS": "100", "LC_ALL": "C.UTF-8"}
    environment |= {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    for line in COMMANDS.strip().splitlines():
        name, _, arguments = line.partition(": ")
        done = subprocess.run(
            [sys.executable, "-m", "retrain", *arguments.split()],
            cwd=work,
            env=environment,
            capture_output=True,
            check=False,
        )
        out, err = (stream.decode("utf-8", "replace") for stream in (done.stdout, done.stderr))
        if out.startswith("{"):
            out = json.dumps(without_times(json.loads(out)), indent=1, ensure_ascii=False)
        text = f"exit {done.returncode}\n--- stdout\n{out}\n--- stderr\n{err}"
        (recorded / f"{name}.txt").write_text(masked(text, work))
        print(f"{name}: exit {done.returncode}", flush=True)
    files = [path for path in sorted(work.rglob("*")) if path.is_file() and not path.is_symlink()]
    for path in files:
        name = path.relative_to(work)
        if name.parts[0] in ("flowers", "zoo", "home", "tiny") or re.match(UNSTABLE, path.name):
            continue
        shown = recorded / "files" / masked(str(name), work)
        shown.parent.mkdir(parents=True, exist_ok=True)
        with shown.open("a") as file:
            file.write(written(path, work) + "\n")
    names = sorted(masked(str(path.relative_to(work)), work) for path in files if path.suffix != ".npz")
    (recorded / "names.txt").write_text("\n".join(names))


def write_tiny_backbone(folder: Path) -> None:
    """A SavedModel that the original's --tfhub_module takes."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import numpy as np
    import tensorflow as tf

    module = tf.Module()
    module.kernel = tf.Variable(np.random.default_rng(7).normal(0, 0.5, (48, 24)).astype(np.float32))

    def call(inputs, training=False):
        return tf.nn.relu(tf.matmul(tf.reshape(tf.nn.avg_pool2d(inputs - 0.5, 4, 4, "VALID"), [-1, 48]), module.kernel))

    spec = tf.TensorSpec([None, 16, 16, 3], tf.float32, name="inputs")
    module.__call__ = tf.function(call, input_signature=[spec, tf.TensorSpec([], tf.bool, name="training")])
    tf.saved_model.save(module, str(folder), signatures=tf.function(lambda inputs: {"default": call(inputs)}, [spec]))


if __name__ == "__main__":
    main()
