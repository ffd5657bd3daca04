"""Modules named as in Label Studio's guide to TimelineLabels; the implementation is in the package framewise."""
