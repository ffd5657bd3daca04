"""/metrics for Prometheus: read from the database when asked, so every web process gives the same numbers."""

from collections.abc import Iterator

from flask import Blueprint, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from framewise.assembly import Assembly


class _FromDatabase(Collector):
    def __init__(self, assembly: Assembly):
        self._assembly = assembly

    def collect(self) -> Iterator[GaugeMetricFamily]:
        jobs = GaugeMetricFamily("framewise_jobs", "Jobs by kind and state", labels=["kind", "state"])
        for (kind, state), number in self._assembly.jobs.states.counts().items():
            jobs.add_metric([kind, state], number)
        yield jobs
        known = GaugeMetricFamily("framewise_known", "What Label Studio has told of", labels=["what"])
        for what, number in self._assembly.annotations.counts().items():
            known.add_metric([what], number)
        yield known
        yield from self._versions()

    def _versions(self) -> Iterator[GaugeMetricFamily]:
        labels = ["project", "control", "version"]
        videos = GaugeMetricFamily("framewise_version_videos", "Videos that the version in use learned from", labels=labels)
        f1 = GaugeMetricFamily("framewise_version_fit_f1", "Its frame F1 on these very videos", labels=labels)
        for version in self._assembly.registry.versions():
            if version["current"]:
                name = [version["project"], version["control"], version["version"]]
                videos.add_metric(name, version.get("videos") or 0)
                if (value := (version.get("fit") or {}).get("f1")) is not None:
                    f1.add_metric(name, value)
        yield from (videos, f1)


def metrics_blueprint(assembly: Assembly) -> Blueprint:
    """The route /metrics."""
    metrics = Blueprint("metrics", __name__)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_FromDatabase(assembly))

    @metrics.get("/metrics")
    def show() -> Response:
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)

    return metrics
