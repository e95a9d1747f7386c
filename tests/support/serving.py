"""What tests of the server share: a model that takes microseconds, an application of it, pictures, and a server."""

import asyncio
import base64
import contextlib
import io
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
from PIL import Image

from retrain.data.picture_form import PictureForm
from retrain.model.classifier import Classifier
from retrain.options import ServingOptions
from retrain.serving.answers import Answerer
from retrain.serving.app import build_app
from retrain.serving.context import Context
from retrain.serving.metrics import Metrics
from retrain.serving.models import ServedModel
from retrain.serving.problems import Problem
from retrain.serving.security import Access
from retrain.serving.server import Server

LABELS = ("red", "green", "blue")
VERSION = 1700000000


class FakeClassifier:
    """Tells red, green and blue pictures apart: its scores are the shares of the colours.

    With a limit, pictures are known by the largest share.
    """

    prediction = Classifier.prediction

    def __init__(self, labels=LABELS, size=(4, 6), thresholds=None, limit=None):
        self.labels, self.thresholds, self.limit = labels, thresholds, limit
        self.folder = self.model_dir = Path("/nowhere/model")
        self.litert_model = None
        self.description = SimpleNamespace(
            height=size[0],
            width=size[1],
            form=PictureForm(*size),
            backbone_name="paint",
            final_tensor_name="final_result",
            is_onnx=False,
        )
        self.batches = []  # their sizes
        self.holds = threading.Event()  # while it is not set, batches wait
        self.holds.set()
        self.error = None  # what it raises

    def answers(self, pixels):
        self.batches.append(len(pixels))
        assert self.holds.wait(30)
        if self.error:
            raise self.error
        shares = pixels.reshape(len(pixels), -1, 3).mean(axis=1) + 1e-3
        shares = (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)
        return shares if self.limit is None else np.hstack([shares, shares.max(axis=1, keepdims=True)])


class FakeModels(dict):
    """Served models by name."""

    def __iter__(self):
        return iter(self.values())

    def get(self, name=None):
        found = next(iter(self)) if name is None else super().get(name)
        if found is None:
            raise Problem(404, f"no model is called {name!r:.80}: there is {', '.join(self.keys())}")
        return found


def served(name="paint", classifier=None, **record):
    return ServedModel(name, VERSION, classifier or FakeClassifier(), record)


def context_of(*models, **options):
    options = ServingOptions(**options)
    metrics = Metrics()
    named = FakeModels((model.name, model) for model in models or [served()])
    return Context(named, options, Access.of(options), metrics, Answerer(options, metrics), True, threading.Event())


def picture(colour, size=(8, 8), form="PNG"):
    """The bytes of a picture of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, form)
    return buffer.getvalue()


RED, GREEN, BLUE = (picture(colour) for colour in ("red", "#00ff00", "blue"))


def b64(data):
    return base64.b64encode(data).decode()


class Client:
    """Asks an application, in this process."""

    def __init__(self, app, headers):
        self._loop = asyncio.new_event_loop()
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._http = httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers)

    def request(self, method, path, **what):
        return self._loop.run_until_complete(self._http.request(method, path, **what))

    def get(self, path, **what):
        return self.request("GET", path, **what)

    def post(self, path, **what):
        return self.request("POST", path, **what)

    def together(self, *requests):
        """The answers to requests that are made at the same time, each a method, a path and what is sent."""

        async def all_of_them():
            return await asyncio.gather(*(self._http.request(*one[:2], content=one[2]) for one in requests))

        return self._loop.run_until_complete(all_of_them())

    def close(self):
        self._loop.run_until_complete(self._http.aclose())
        self._loop.close()


@contextlib.contextmanager
def asking(context, **headers):
    with contextlib.closing(context.answerer), contextlib.closing(Client(build_app(context), headers)) as client:
        yield client


@contextlib.contextmanager
def running(folders, emit=lambda event: None, **options):
    """A server in a thread; gives it and its host and port."""
    server = Server(folders, ServingOptions(port=0, **options), emit=emit)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server, ("127.0.0.1", int(server.url.rpartition(":")[2].strip("/")))
    finally:
        server.stop()
        thread.join(60)
        assert not thread.is_alive()


def wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def run(work):
    """Run a coroutine."""
    return asyncio.run(asyncio.wait_for(work, 30))
