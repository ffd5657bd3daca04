"""framewise: a Label Studio ML backend that learns and fills in intervals on video timelines."""

__version__ = "0.1.0"
