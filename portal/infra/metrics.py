"""What this process has done, in numbers for Prometheus: requests by page and outcome, events by outcome.

Off without METRICS_TOKEN: then nothing is counted and nothing is imported. Several processes of one host add up if
PROMETHEUS_MULTIPROC_DIR names a folder that is emptied before they start. Labels are endpoints and words of the code,
never ids, so their number is bounded.
"""

import os
import time
from collections.abc import Mapping

from flask import Flask, Response, current_app, g, request

_EXTENSION = "metrics"
# From what feels immediate to what is given up.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The counters of this process, and how they are written out."""

    def __init__(self) -> None:
        # Here, and not above: whether processes add up is decided when the library is imported.
        from prometheus_client import CollectorRegistry, Counter, Histogram
        from prometheus_client.multiprocess import MultiProcessCollector

        several = "PROMETHEUS_MULTIPROC_DIR" in os.environ
        own = CollectorRegistry()
        self.requests = Counter("portal_requests", "Requests answered.", ["endpoint", "method", "status"], registry=own)
        self.seconds = Histogram(
            "portal_request_seconds",
            "Seconds until a request was answered.",
            ["endpoint"],
            buckets=_SECONDS,
            registry=own,
        )
        self.events = Counter("portal_events", "Usage events by what became of them.", ["outcome"], registry=own)
        self._registry = CollectorRegistry() if several else own
        if several:
            MultiProcessCollector(self._registry)  # type: ignore[no-untyped-call]

    def written(self) -> bytes:
        """All of it, in Prometheus' text format."""
        from prometheus_client import generate_latest

        return bytes(generate_latest(self._registry))


def init_app(app: Flask) -> None:
    """Count requests, if metrics are asked for."""
    if app.config["SETTINGS"].metrics_token is None:
        return
    app.extensions[_EXTENSION] = Metrics()
    app.before_request(_begin)
    app.after_request(_count)


def metrics_of_process() -> Metrics | None:
    """The counters of this process; None while metrics are off."""
    found: Metrics | None = current_app.extensions.get(_EXTENSION)
    return found


def count_events(outcomes: Mapping[str, int]) -> None:
    """Count what became of a batch's events, by outcome."""
    metrics = metrics_of_process()
    if metrics is not None:
        for outcome, count in outcomes.items():
            metrics.events.labels(outcome).inc(count)


def _begin() -> None:
    g.began_at = time.perf_counter()


def _count(response: Response) -> Response:
    metrics = metrics_of_process()
    if metrics is not None and "began_at" in g:
        endpoint = request.endpoint or "none"
        method = request.method if request.method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS") else "other"
        metrics.requests.labels(endpoint, method, f"{response.status_code // 100}xx").inc()
        metrics.seconds.labels(endpoint).observe(time.perf_counter() - g.began_at)
    return response
