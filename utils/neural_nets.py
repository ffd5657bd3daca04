"""The networks and the cached extraction, by the names of Label Studio's guide to TimelineLabels."""

from framewise.learning.networks import BaseNN, MultiLabelLSTM
from framewise.library import cached_feature_extraction, cached_yolo_predict

__all__ = ["BaseNN", "MultiLabelLSTM", "cached_feature_extraction", "cached_yolo_predict"]
