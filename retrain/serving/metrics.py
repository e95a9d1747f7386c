"""What a server tells of itself, as Prometheus reads it."""

import logging

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)

_log = logging.getLogger(__name__)


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._requests = Counter(
            "retrain_requests_total", "Requests, by route and status.", ["route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "retrain_request_seconds",
            "From a request's head to the end of its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._pictures = Counter(
            "retrain_pictures_total", "Pictures, by what became of them.", ["model", "outcome"], registry=registry
        )
        self._decoding = Histogram(
            "retrain_decoding_seconds",
            "From the arrival of a picture's bytes to its pixels, waiting included.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._scoring = Histogram(
            "retrain_scoring_seconds",
            "From a picture's pixels to its scores, waiting included.",
            ["model"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._batches = Histogram(
            "retrain_batch_pictures",
            "Pictures that went through a network together.",
            buckets=_SIZES,
            registry=registry,
        )
        self._waiting = Gauge("retrain_pictures_waiting", "Pictures that wait for an answer.", registry=registry)
        self._version = Gauge(
            "retrain_model_version",
            "When the model that answers was trained, since 1970.",
            ["model"],
            registry=registry,
        )
        self._failures = Counter(
            "retrain_model_failures_total", "Times that a model gave no scores.", ["model"], registry=registry
        )

    def request(self, route: str, status: int, seconds: float) -> None:
        """A request got its answer."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def answered(self, model: str, good: int, bad: int) -> None:
        """Some pictures got scores, and some could not be read."""
        self._pictures.labels(model, "scored").inc(good)
        self._pictures.labels(model, "unreadable").inc(bad)

    def decoded(self, seconds: float) -> None:
        """A picture was decoded, or could not be."""
        self._decoding.observe(seconds)

    def scored(self, model: str, seconds: float) -> None:
        """A picture got its scores, or none."""
        self._scoring.labels(model).observe(seconds)

    def batch(self, pictures: int) -> None:
        """A batch goes through a network."""
        self._batches.observe(pictures)

    def model_failed(self, model: str, why: str) -> None:
        """A model gave no scores."""
        _log.error("the model %s gives no scores: %s", model, why)
        self._failures.labels(model).inc()

    def text(self, waiting: int, versions: dict[str, int]) -> bytes:
        """All of it.

        Args:
            waiting: pictures that wait now.
            versions: model -> version that answers now.
        """
        self._waiting.set(waiting)
        for name, version in versions.items():
            self._version.labels(name).set(version)
        return generate_latest(self._registry)
