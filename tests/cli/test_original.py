"""The command line of TensorFlow's retrain.py, as its users' scripts call it."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.command import one_line_error, retrain
from support.pictures import TINY_SIZE, draw_picture

from retrain.cli.original import (
    _FLAGS,
    _check_outputs,
    _parse,
    _renamed,
    _run_options,
    _write_outputs,
    normalized_label,
)
from retrain.errors import OutputError, UsageError
from retrain.options import AugmentationOptions


def options(*argv):
    return _run_options(_parse(["--image_dir", "x", *argv]))


def test_every_flag_of_the_original_is_there_with_its_default(test_data):
    text = (test_data / "reference" / "original-flags.md").read_text("utf-8")
    listed = {}
    for row in re.findall(r"^\| (`--.+?) \| (.*?) \|", text, re.MULTILINE):
        for flag in re.findall(r"`--(\w+)`", row[0]):
            listed[flag] = row[1].strip("`")
    assert len(listed) > 25
    ours = {name: default for name, _, default, _ in _FLAGS}
    assert set(ours) == set(listed)
    for flag, default in listed.items():
        if default not in ("off", "(required)", "empty", "10, 10"):
            assert str(ours[flag]) == default, flag


def test_flags_mean_our_options():
    got = options(
        "--how_many_training_steps=500", "--train_batch_size", "10", "--learning_rate", "0.5",
        "--testing_percentage", "20", "--validation_percentage", "5", "--eval_step_interval", "7",
        "--test_batch_size", "11", "--validation_batch_size", "-1", "--bottleneck_dir", "b",
        "--final_tensor_name", "softmax", "--print_misclassified_test_images",
    ).as_dict()  # fmt: skip
    assert got["backbone"] is None
    wanted = {
        "steps": 500,
        "batch_size": 10,
        "learning_rate": 0.5,
        "test_percentage": 20,
        "validation_percentage": 5,
        "eval_step_interval": 7,
        "test_batch_size": 11,
        "validation_batch_size": -1,
        "cache_dir": "b",
        "final_tensor_name": "softmax",
        "print_misclassified": True,
    }
    assert {name: got[name] for name in wanted} == wanted


@pytest.mark.parametrize("argv", [["--architecture", "inception_v3"], ["--architecture=inception_v3"]])
def test_inception_that_is_named_is_no_default(argv):
    assert options(*argv).backbone.backbone == "https://tfhub.dev/google/imagenet/inception_v3/feature_vector/3"


def test_architectures_of_2017_are_backbones():
    assert options("--architecture", "mobilenet_0.50_160").backbone.backbone == "mobilenet_0.50_160"
    assert options("--tfhub_module", "https://h/m/1").backbone.backbone == "https://h/m/1"
    with pytest.raises(UsageError, match=r"--architecture mobilenet_0\.33_224: expected inception_v3 or"):
        options("--architecture", "mobilenet_0.33_224")
    with pytest.raises(UsageError, match="both name a backbone"):
        options("--architecture", "mobilenet_1.0_224", "--tfhub_module", "https://h/m/1")


def test_distortions_make_ten_copies():
    assert options().augmentation.augment == 0
    got = options("--flip_left_right", "--random_crop=5", "--random_scale", "6", "--random_brightness=7").augmentation
    assert got == AugmentationOptions(augment=10, flip=True, crop=5, zoom=6, brightness=7)
    assert options("--random_scale=6").augmentation == AugmentationOptions(augment=10, zoom=6)


def test_distortions_out_of_range_are_named_as_these_users_know_them(pictures):
    done = retrain("--image_dir", pictures, "--random_scale", "400", check=2)
    one_line_error(done, "--random_scale 400: must be between 0 and 300")


def test_copies_are_trained_on(pictures, tiny_backbone):
    done = retrain(
        "--image_dir", pictures, "--tfhub_module", tiny_backbone, "--bottleneck_dir", "b", "--output_graph", "g.pb",
        "--output_labels", "l.txt", "--summaries_dir", "s", "--how_many_training_steps", "20", "--flip_left_right",
        "--random_brightness", "20", check=0,
    )  # fmt: skip
    assert "10 distorted copies of every training picture are cached and trained on" in done.stderr
    assert len([path for path in Path("b").iterdir() if "_augmented-" in path.name]) == 1


def test_labels_are_normalized_as_the_original_does():
    assert normalized_label("Blue_Whale-2 (XL)") == "blue whale 2 xl "


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    root = tmp_path_factory.mktemp("original") / "photos"
    for label, name in enumerate(["Cat", "big_Dog"]):
        (root / name).mkdir(parents=True)
        for number in range(30):
            draw_picture(number, label).save(root / name / f"{number}.jpg", quality=95)
    return root


def test_the_whole_command_line_works(pictures, tiny_backbone):
    Path("logs").mkdir()
    Path("logs/mine.txt").write_text("the user's")
    done = retrain(
        "--image_dir", pictures, "--output_graph", "g/graph.pb", "--output_labels", "labels.txt",
        "--bottleneck_dir", "b", "--how_many_training_steps", "60", "--train_batch_size", "10",
        "--tfhub_module", tiny_backbone, "--summaries_dir", "logs", "--intermediate_output_graphs_dir", "i",
        "--intermediate_store_frequency", "25", "--saved_model_dir", "sm", "--final_tensor_name", "answer",
        "--print_misclassified_test_images", "--checkpoint_path", "c", "--model_dir", "m", check=0,
    )  # fmt: skip
    assert Path("labels.txt").read_text() == "cat\nbig dog\n"  # the folders' order: Cat, big_Dog
    assert sorted(path.name for path in Path("i").iterdir()) == ["intermediate_25.pb", "intermediate_50.pb"]
    assert sorted(path.name for path in Path("logs").iterdir()) == ["mine.txt", "train", "validation"]
    assert not Path("c").exists()
    assert not Path("m").exists()
    for pattern in (
        r"Step 0: Train accuracy = \d+\.\d%",
        r"Step 10: Cross entropy = \d+\.\d{6}",
        r"Step 59: Validation accuracy = \d+\.\d% \(N=100\)",
        r"Final test accuracy = \d+\.\d% \(N=\d+\)",
        r"=== MISCLASSIFIED TEST IMAGES ===",
        r"--checkpoint_path is accepted for compatibility",
        r"--model_dir is accepted for compatibility",
    ):
        assert re.search(pattern, done.stderr), pattern
    assert done.stdout == ""
    scores = run_graph("g/graph.pb", "answer:0")
    assert scores.shape == (1, 2)
    from retrain._tensorflow import tf

    answer = tf.saved_model.load("sm").signatures["serving_default"](
        image_bytes=tf.constant([(pictures / "Cat" / "0.jpg").read_bytes()])
    )
    assert answer["answer"].shape == (1, 2)


def run_graph(path, output):
    from retrain._tensorflow import tf

    graph_def = tf.compat.v1.GraphDef()
    graph_def.ParseFromString(Path(path).read_bytes())
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        tf.import_graph_def(graph_def, name="")
        return session.run(output, {"Placeholder:0": np.zeros((1, TINY_SIZE, TINY_SIZE, 3))})


def test_outputs_that_cannot_be_written_are_refused_before_any_work(pictures, tiny_backbone):
    Path("taken").mkdir()
    base = ["--image_dir", pictures, "--tfhub_module", tiny_backbone, "--bottleneck_dir", "b"]
    one_line_error(retrain(*base, "--saved_model_dir", "taken", check=1), "--saved_model_dir taken exists")
    one_line_error(retrain(*base, "--output_graph", "taken", check=1), "--output_graph taken is a folder: give a file")
    Path("file").write_text("")
    one_line_error(retrain(*base, "--output_labels", "file/labels.txt", check=1), "--output_labels file/labels.txt")
    assert not Path("b").exists()


def outputs(**flags):
    return _parse(["--image_dir", "x", *(f"--{name}={value}" for name, value in (DEFAULTS | flags).items())])


DEFAULTS = {"output_graph": "g/g.pb", "output_labels": "l.txt", "summaries_dir": "s", "bottleneck_dir": "b"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"output_labels": "loop/l.txt"}, "--output_labels loop/l.txt: Too many levels of symbolic links"),
        ({"output_labels": "loop"}, "--output_labels loop: Too many levels of symbolic links"),
        ({"output_graph": "/proc/g.pb"}, "--output_graph /proc/g.pb: "),
        ({"summaries_dir": "/proc/s"}, "--summaries_dir /proc/s: "),
        ({"saved_model_dir": "/proc/s/m"}, "--saved_model_dir /proc/s/m: "),
        (
            {"output_graph": "one", "output_labels": "./one"},
            "--output_graph and --output_labels are both one: give two",
        ),
    ],
)
def test_places_that_cannot_be_written_are_refused(flags, message):
    Path("loop").symlink_to("loop")
    with pytest.raises(OutputError, match=re.escape(message)):
        _check_outputs(outputs(**flags))


def test_links_to_outputs_stay_and_devices_are_no_files(monkeypatch):
    Path("place").mkdir()
    Path("l.txt").symlink_to("place/labels.txt")
    flags = outputs(output_graph="/dev/null")
    _check_outputs(flags)
    _write_outputs(flags, fake_model(monkeypatch))
    assert Path("l.txt").is_symlink()
    assert Path("place/labels.txt").read_text() == "cat\ndog\n"
    assert Path("/dev/null").is_char_device()


def test_a_full_disk_names_the_output_and_keeps_the_old_one(monkeypatch):
    Path("g").mkdir()
    Path("g/g.pb").write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("retrain.files.os.fsync", full)
    with pytest.raises(OutputError, match=r"--output_graph g/g\.pb: No space left on device; make room"):
        _write_outputs(outputs(), fake_model(monkeypatch))
    assert Path("g/g.pb").read_text() == "old"


def fake_model(monkeypatch):
    monkeypatch.setattr("retrain.export.frozen_graph.FrozenGraph.parts", lambda *_: (b"a", b"b"))
    graph = SimpleNamespace(under=lambda head, labels: None)
    trained = SimpleNamespace(head=None, history=[])
    return SimpleNamespace(result=SimpleNamespace(labels=("cat", "dog")), graph=graph, trained=trained)


def test_a_batch_may_be_larger_than_the_number_of_pictures(pictures, tiny_backbone):
    shutil.copytree(pictures, "photos")
    Path("photos/logs").mkdir()
    Path("photos/logs/events").write_bytes(b"of an earlier run")
    Path("photos/Cat/empty.png").write_bytes(b"")
    done = retrain(
        "--image_dir", "photos", "--tfhub_module", tiny_backbone, "--bottleneck_dir", "b", "--output_graph", "g.pb",
        "--output_labels", "l.txt", "--summaries_dir", "photos/logs", "--how_many_training_steps", "5",
        "--train_batch_size", "500", check=0,
    )  # fmt: skip
    assert "logs" not in Path("l.txt").read_text().split()
    assert "WARNING: skipped 1 of " in done.stderr
    assert "(the file is empty); by class: Cat 1 of " in done.stderr


def test_messages_name_what_this_command_line_has():
    assert _renamed("use another --cache-dir, or --backbone X") == "use another --bottleneck_dir, or --tfhub_module X"
    assert _renamed("--crop 5, --crop-x, a--crop") == "--random_crop 5, --crop-x, a--crop"


def test_messages_say_whose_the_other_options_are(pictures, monkeypatch, capsys):
    assert (
        _renamed("if you trust it, give --trust")
        == "if you trust it, give --trust (--trust is an option of retrain train)"
    )
    assert _renamed("--weights, or --input-size and --backbone") == (
        "--weights, or --input-size and --tfhub_module (--input-size, --weights are options of retrain train)"
    )


def test_an_error_says_whose_option_would_help(make_folder):
    root = make_folder({"train": 2, "cat": 2, "validation": 2})
    done = retrain("--image_dir", root, "--bottleneck_dir", "b", check=1)
    one_line_error(done, "(--labels-file can give them any label) (--labels-file is an option of retrain train)")


def test_folders_that_would_get_one_label_are_refused(make_folder, tiny_backbone):
    root = make_folder({"big dog": 5, "Big_Dog": 5})
    done = retrain("--image_dir", root, "--tfhub_module", tiny_backbone, "--bottleneck_dir", "b", check=1)
    one_line_error(done, "'Big_Dog' and 'big dog' would get the same label 'big dog': rename one")


def test_our_own_commands_keep_such_folders_apart(make_folder, tiny_backbone):
    root = make_folder({"big dog": 25, "Big_Dog": 25})
    done = retrain("train", root, "--backbone", tiny_backbone, "--steps", 5, "--json", "--quiet", check=0)
    assert json.loads(done.stdout)["labels"] == ["Big_Dog", "big dog"]
