"""The control model, by the name of Label Studio's guide to TimelineLabels."""

from framewise.controls import TimelineLabelsModel

__all__ = ["TimelineLabelsModel"]
