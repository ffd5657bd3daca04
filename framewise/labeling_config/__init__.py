"""Reading of a project's labeling config into typed settings of its controls."""

from framewise.labeling_config.control_settings import ControlSettings, LabelSettings, SeriesSettings, match_classes
from framewise.labeling_config.groups import sync_groups, training_keys
from framewise.labeling_config.parameters import CROPS, DEFAULTS, PARAMETERS
from framewise.labeling_config.reading import (
    MAX_CONTROLS,
    MAX_LABELS,
    attributes_of,
    has_dates,
    parse_xml,
    read_frame_rates,
    read_interval_controls,
    read_label_tags,
    read_labeling_config,
    separator_of,
    without_backbones,
)

__all__ = [
    "CROPS", "DEFAULTS", "MAX_CONTROLS", "MAX_LABELS", "PARAMETERS", "ControlSettings", "LabelSettings", "SeriesSettings",
    "attributes_of", "has_dates", "match_classes", "parse_xml", "read_frame_rates", "read_interval_controls", "read_label_tags",
    "read_labeling_config", "separator_of", "sync_groups", "training_keys", "without_backbones",
]  # fmt: skip
