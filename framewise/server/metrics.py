"""/metrics for Prometheus: read from the database on request, so every web process gives the same numbers, but for refusals."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

from flask import Blueprint, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from framewise.assembly import Assembly
from framewise.server.refusals import Refusals

# Names of the measures in version.json, and here.
MEASURES = {"f1": "f1", "f1@10": "f1_10", "f1@25": "f1_25", "f1@50": "f1_50", "average_precision": "average_precision"}


class _FromMemory(Collector):
    def __init__(self, refusals: Refusals):
        self._refusals = refusals

    def collect(self) -> Iterator[CounterMetricFamily]:
        refused = CounterMetricFamily(
            "framewise_refused_requests", "Requests refused by one web process", labels=["reason", "process"]
        )
        for reason, number in dict(self._refusals.counts).items():
            refused.add_metric([reason, str(os.getpid())], number)
        yield refused


class _FromDatabase(Collector):
    def __init__(self, assembly: Assembly):
        self._assembly = assembly

    def collect(self) -> Iterator[GaugeMetricFamily]:
        jobs = GaugeMetricFamily("framewise_jobs", "Jobs by kind and state", labels=["kind", "state"])
        for (kind, state), number in self._assembly.jobs.states.counts().items():
            jobs.add_metric([kind, state], number)
        yield jobs
        known = GaugeMetricFamily(
            "framewise_known", "Projects, tasks, annotations and events that Label Studio has sent", labels=["what"]
        )
        for what, number in self._assembly.annotations.counts().items():
            known.add_metric([what], number)
        yield known
        yield from self._versions()

    def _versions(self) -> Iterator[GaugeMetricFamily]:
        labels = ["project", "control", "version"]
        videos = GaugeMetricFamily("framewise_version_videos", "Videos that the version in use was trained on", labels=labels)
        f1 = GaugeMetricFamily(
            "framewise_version_fit_f1", "Frame F1 of the version in use on its training videos", labels=labels
        )
        in_use = [version for version in self._assembly.registry.versions() if version["current"]]
        for version in in_use:
            name = [version["project"], version["control"], version["version"]]
            videos.add_metric(name, version.get("videos") or 0)
            if (value := (version.get("fit") or {}).get("f1")) is not None:
                f1.add_metric(name, value)
        yield from (videos, f1)
        yield from _quality(in_use)


def _quality(versions: list[dict[str, Any]]) -> Iterator[GaugeMetricFamily]:
    """Scores of versions on held-out videos, where available."""
    names = ["project", "control", "version"]
    by_label = GaugeMetricFamily(
        "framewise_version_quality", "Score of a label on held-out videos", labels=[*names, "label", "measure"]
    )
    mean = GaugeMetricFamily(
        "framewise_version_quality_mean", "Score on held-out videos, mean over the labels", labels=[*names, "measure"]
    )
    for version in versions:
        quality = _mapping(version.get("quality"))
        name = [str(version[n]) for n in names]
        for label, scores in _mapping(quality.get("labels")).items():
            for measure, score in _scores(scores):
                by_label.add_metric([*name, label, measure], score)
        for measure, score in _scores(quality.get("mean")):
            mean.add_metric([*name, measure], score)
    yield from (by_label, mean)


def _scores(scores: Any) -> Iterator[tuple[str, float]]:
    """(measure, score) of the available scores."""
    for key, measure in MEASURES.items():
        score = _mapping(scores).get(key)
        if isinstance(score, int | float):
            yield measure, score


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def metrics_blueprint(assembly: Assembly, refusals: Refusals) -> Blueprint:
    """The route /metrics."""
    metrics = Blueprint("metrics", __name__)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_FromDatabase(assembly))
    registry.register(_FromMemory(refusals))

    @metrics.get("/metrics")
    def show() -> Response:
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)

    return metrics
