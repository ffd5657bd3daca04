"""Quality of a project's models for the project page: scores, curves, calibration, changes, possibly missing marks."""

from collections.abc import Mapping, Sequence
from typing import Any

from framewise.labeling_config import ControlSettings
from framewise.learning.folds import METHODS
from framewise.learning.quality import UNMEASURED
from framewise.server.pages import drawing
from framewise.server.pages.drawing import Chart
from framewise.server.pages.views import ProjectView, Version, mapping, number

VERSIONS_A_PAGE = 50
SCORES = ("f1", "f1@50", "precision", "recall")


def quality_table(project: ProjectView, control: ControlSettings) -> dict[str, Any] | None:
    """Scores of the newest validated version, one row per label; None if there is none."""
    measured = _measured(project.of(control.from_name))
    if not measured:
        return None
    version = measured[0]
    quality = mapping(version["quality"])
    labels, evidence = mapping(quality.get("labels")), mapping(version.get("evidence"))
    rows = [
        {
            "label": name,
            "colour": project.colour(control.from_name, name),
            "told_by": evidence.get(name),
            **_row(mapping(scores)),
        }
        for name, scores in labels.items()
    ]
    return {
        "version": version["version"],
        "current": version["current"],
        "rows": rows,
        "mean": _row(mapping(quality.get("mean"))),
        "interval": _interval(quality, "f1"),
        "method": _method(quality),
        "weak": bool(quality.get("weak")),
        "videos": quality.get("videos"),
        "unmeasured": UNMEASURED if any(row["f1"] is None and row["segments"] for row in rows) else "",
    }


def learning_curves(project: ProjectView, control: ControlSettings) -> tuple[Chart, Chart] | None:
    """Learning curves over versions and over annotated videos; None if no version was validated."""
    measured = list(reversed(_measured(project.of(control.from_name))))[-VERSIONS_A_PAGE:]
    if not measured:
        return None
    points = [_point(version) for version in measured]
    over_versions = [(float(place), *point) for place, point in enumerate(points, 1)]
    videos = [number(version.get("videos")) or 0.0 for version in measured]
    # The newest version for each number of videos.
    newest = {count: point for count, point in zip(videos, points, strict=True)}
    over_videos = [(count, *newest[count]) for count in sorted(newest)]
    return drawing.chart(over_versions), drawing.chart(over_videos)


def calibration_circles(project: ProjectView, control: ControlSettings) -> list[dict[str, Any]]:
    """Circles of the calibration picture: mean score, share of correct regions, and number of regions."""
    measured = _measured(project.of(control.from_name))
    bins = mapping(measured[0]["quality"]).get("reliability") if measured else None
    found = []
    for row in bins if isinstance(bins, list) else []:
        if not (isinstance(row, list) and len(row) == 3 and all(isinstance(x, int | float) for x in row)):
            continue
        said, right, count = row
        radius = round(3 + 5 * min(1.0, count / 50) ** 0.5, 1)
        found.append(
            {"x": round(30 + said * 150, 1), "y": round(160 - right * 150, 1), "r": radius, "said": said, "right": right,
             "count": count}
        )  # fmt: skip
    return found


def changes(project: ProjectView, control: ControlSettings, before: str | None, after: str | None) -> dict[str, Any] | None:
    """Changes between two versions, by default the last two validated ones. None if there are fewer than two."""
    measured = _measured(project.of(control.from_name))
    if len(measured) < 2:
        return None
    names = [version["version"] for version in measured]
    new = measured[names.index(after)] if after in names else measured[0]
    later = names.index(new["version"]) + 1
    old = measured[names.index(before)] if before in names else measured[later if later < len(names) else 0]
    then, now = (mapping(mapping(v["quality"]).get("labels")) for v in (old, new))
    rows = []
    for label in dict.fromkeys([*now, *then]):
        was, is_ = _row(mapping(then.get(label))), _row(mapping(now.get(label)))
        changes = {name: _change(was[name], is_[name]) for name in (*SCORES, "segments", "videos")}
        rows.append({"label": label, "colour": project.colour(control.from_name, label), "was": was, "now": is_, **changes})
    return {"names": names, "old": old, "new": new, "rows": rows, "facts": _facts(old, new)}


def left_out_marks(project: ProjectView, control: ControlSettings) -> list[dict[str, Any]]:
    """Unmarked stretches of annotated tasks that look like marked ones, from the newest validated version."""
    measured = _measured(project.of(control.from_name))
    stretches = measured[0].get("unmarked") if measured else None
    found = []
    for stretch in stretches if isinstance(stretches, list) else []:
        one = mapping(stretch)
        task, label, begin, end = (one.get(name) for name in ("task", "label", "start_seconds", "end_seconds"))
        if isinstance(task, int) and isinstance(label, str) and number(begin) is not None and number(end) is not None:
            colour, address = project.colour(control.from_name, label), project.address(task)
            found.append({"task": task, "label": label, "begin": begin, "end": end, "colour": colour, "address": address})
    return found


def _measured(versions: Sequence[Version]) -> list[Version]:
    return [version for version in versions if mapping(mapping(version.get("quality")).get("mean"))]


def _point(version: Version) -> tuple[str, list[float | None], tuple[float | None, float | None]]:
    quality = mapping(version["quality"])
    mean = mapping(quality.get("mean"))
    return str(version["version"]), [number(mean.get("f1")), number(mean.get("f1@50"))], _interval(quality, "f1")


def _row(scores: Mapping[str, Any]) -> dict[str, float | None]:
    """Scores of a label that a page shows; None for those that were not computed, as in older versions."""
    shown = {name: number(scores.get(name)) for name in SCORES}
    return {**shown, "segments": number(scores.get("true_segments")), "videos": number(scores.get("true_videos"))}


def _facts(old: Version, new: Version) -> list[tuple[str, Any, Any]]:
    """Other differences between two versions: (name, before, now)."""
    rows = [("videos", old.get("videos"), new.get("videos"))]
    rows += [("labels", ", ".join(map(str, old.get("labels") or [])), ", ".join(map(str, new.get("labels") or [])))]
    rows += [("backbone", mapping(old.get("backbone")).get("name"), mapping(new.get("backbone")).get("name"))]
    rows += [("held-out videos scored", *(_method(mapping(version["quality"])) for version in (old, new)))]
    return [row for row in rows if row[1] != row[2]]


def _method(quality: Mapping[str, Any]) -> Any:
    return METHODS.get(str(quality.get("method")), quality.get("method"))


def _change(before: float | None, now: float | None) -> float | None:
    return None if before is None or now is None else now - before


def _interval(quality: Mapping[str, Any], name: str) -> tuple[float | None, float | None]:
    ends = mapping(quality.get("interval")).get(name)
    return (number(ends[0]), number(ends[1])) if isinstance(ends, list) and len(ends) == 2 else (None, None)
