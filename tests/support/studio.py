"""What tests of the studio share: a model that needs no network, and an application on them."""

import contextlib
import dataclasses
import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
from PIL import Image

from retrain.data import FolderEdits
from retrain.errors import TrainingError
from retrain.events import Extracted, StageBegan
from retrain.model import Prediction
from retrain.options import ImageOptions, StudioOptions
from retrain.report.live import LiveChanges, LiveClass, LiveFigure, LivePicture, LiveReport, Suspect
from retrain.serving import StudioParts, StudioServer, read_folder
from retrain.serving.admission import Admission
from retrain.serving.studio.access import HEADER, StudioAccess
from retrain.serving.studio.app import Studio, build_studio
from retrain.serving.studio.events import EventStream
from retrain.serving.studio.thumbnails import Thumbnails
from retrain.serving.studio.workbench import Workbench
from support.serving import Client, wait_until

TESTS = Path(__file__).parents[1]


class FakeModel:
    """Says of a picture the colour that it has: red, green or blue; the first label, if there is no such class."""

    def __init__(self, root, tell, is_unwanted):
        self._root, self._tell, self._is_unwanted = Path(root), tell, is_unwanted
        self.updates, self.saved, self.error = 0, [], None
        self._report = LiveReport(0)

    def update(self):
        if self.error:
            raise self.error
        self._tell(StageBegan("extraction"))
        content = read_folder(self._root)
        labels = content.class_names
        self._tell(Extracted(len(content.pictures), len(content.pictures)))
        self.updates += 1
        if len(labels) < 2:
            self._report = LiveReport(self.updates, labels, "there is one class only: make a second one")
            return self._report
        pictures = tuple(self._judged(picture, labels) for picture in content.pictures)
        self._report = self._figures(labels, tuple(one for one in pictures if one))
        return self._report

    def look_closer(self):
        wrong = [one for one in self._report.pictures if not one.is_right]
        suspects = tuple(Suspect(p.path, p.label, p.answer, f"looks like {p.answer}, not {p.label}") for p in wrong)
        self._report = dataclasses.replace(self._report, suspects=suspects, copies_across_sets=())
        return self._report

    def classify(self, contents):
        if not self._report.labels:
            raise TrainingError("there is no model yet")
        found = []
        for content in contents:
            try:
                answer = _colour(Image.open(io.BytesIO(content)), self._report.labels)
            except OSError:
                found.append(Prediction("", None, None, {}, "not a picture"))
                continue
            scores = {label: 0.9 if label == answer else 0.1 for label in self._report.labels}
            found.append(Prediction("", answer, 0.9, dict(sorted(scores.items(), key=lambda pair: -pair[1]))))
        return found

    def save(self, model_dir):
        os.makedirs(model_dir)
        self.saved.append(model_dir)

    def worth_a_label(self):
        return ()

    def load_network(self):
        pass

    def _judged(self, picture, labels):
        try:
            answer = _colour(Image.open(self._root / picture.path), labels)
        except OSError:
            return None
        set_ = ("train", "validation", "test")[picture.signature[1] % 3]
        return LivePicture(picture.path, set_, picture.class_name, "", answer, 0.9, True)

    def _figures(self, labels, pictures):
        matrix = [[0] * len(labels) for _ in labels]
        confused = {}
        for one in pictures:
            cell = labels.index(one.label), labels.index(one.answer)
            matrix[cell[0]][cell[1]] += 1
            if not one.is_right:
                confused[cell] = (*confused.get(cell, ()), one.path)
        right = sum(one.is_right for one in pictures)
        share = right / len(pictures)
        classes = tuple(
            LiveClass(label, label, len(matrix[n]), 0, 0, sum(matrix[n]), matrix[n][n])
            for n, label in enumerate(labels)
        )
        headline = LiveFigure(
            self.updates, share, (max(0, share - 0.1), min(1, share + 0.1)), len(pictures), "test set"
        )
        return LiveReport(
            self.updates,
            labels,
            classes=classes,
            headline=headline,
            history=(*self._report.history, headline),
            confusion=tuple(map(tuple, matrix)),
            confused=confused,
            pictures=pictures,
            changes=LiveChanges("nothing that matters") if self._report.headline else None,
            timings={"total": 0.1},
        )


def _colour(image, labels):
    mean = np.asarray(image.convert("RGB"), float).reshape(-1, 3).mean(axis=0)
    name = ("red", "green", "blue")[int(mean.argmax())]
    return name if name in labels else labels[0]


COLOURS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}


def paint(root, classes=("blue", "green", "red"), count=3):
    """An image folder with pictures in the colours of the classes; no two are the same."""
    for name in classes:
        (Path(root) / name).mkdir(parents=True)
        for number in range(count):
            colour = [min(255, level + 3 * number) for level in COLOURS[name]]
            Image.new("RGB", (12, 10), tuple(colour)).save(Path(root) / name / f"{name}{number}.png")
    return Path(root)


class StudioClient(Client):
    """Asks a studio's application, as its page does."""

    def __init__(self, studio):
        self.studio, self.workbench = studio, studio.workbench
        super().__init__(build_studio(studio), {"Host": "127.0.0.1:8001", HEADER: "1"})
        answer = self.get("/login", params={"token": studio.access.token})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")

    def edit(self, **change):
        return self.post("/edits", json=change)

    def listing(self):
        """Class -> names of pictures."""
        found = self.get("/listing").json()
        rows = zip(found["pictures"]["classes"], found["pictures"]["names"], strict=True)
        listed = {name: [] for name in found["classes"]}
        for place, name in sorted(rows):
            listed.setdefault(None if place < 0 else found["classes"][place], []).append(name)
        return listed

    def numbers(self, *paths):
        """The numbers of pictures."""
        return [self.workbench.table.numbers()[path] for path in paths]


@contextlib.contextmanager
def studio_of(root, read_only=False, unlabelled=(), images=ImageOptions()):
    """A client of a studio on a folder, whose threads run; it has its editor and its model, too."""
    editor = None if read_only else FolderEdits(root)
    models = []

    def make(tell, is_unwanted):
        models.append(FakeModel(root, tell, is_unwanted))
        return models[0]

    stream = EventStream()
    parts = StudioParts(Path(root), lambda: read_folder(root, (), unlabelled), editor, make, images)
    with (
        contextlib.nullcontext() if editor is None else contextlib.closing(editor),
        contextlib.closing(Workbench(parts, stream)) as bench,
        contextlib.closing(Thumbnails(Path(root), images)) as small,
    ):
        studio = Studio("pictures", bench, stream, small, StudioAccess(8001), images, Admission(1, 2**29))
        with contextlib.closing(StudioClient(studio)) as client:
            client.editor, client.model = editor, models[0]
            bench.start()
            wait_until(lambda: bench.figures is not None)
            yield client


_PROGRAM = """
import sys
from support.studio import FakeModel
import retrain.pipeline.studio as studio
studio._Model = lambda root, options, *told, **rest: FakeModel(root, *told)
from retrain.cli.start import main
sys.exit(main())
"""


@contextlib.contextmanager
def studio_process(root, port=0):
    """`retrain studio` as a process, with the model of these tests; gives it and its address."""
    command = [sys.executable, "-c", _PROGRAM, "studio", str(root), "--no-browser", "--port", str(port)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        yield process, process.stdout.readline().strip().partition(": ")[2]
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def studio_running(root, port=0):
    """A server of a studio in a thread; gives it."""
    editor = FolderEdits(root)
    parts = StudioParts(
        Path(root),
        lambda: read_folder(root),
        editor,
        lambda *told: FakeModel(root, *told),
        ImageOptions(),
    )
    server = StudioServer(parts, StudioOptions(port=port))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join(60)
        server.close()
        editor.close()
        assert not thread.is_alive()
