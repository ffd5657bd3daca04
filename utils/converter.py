"""Between regions and arrays, by the names of Label Studio's guide to TimelineLabels."""

from framewise.core.converter import convert_probs_to_timelinelabels, convert_timelinelabels_to_probs, get_label_map

__all__ = ["convert_probs_to_timelinelabels", "convert_timelinelabels_to_probs", "get_label_map"]
