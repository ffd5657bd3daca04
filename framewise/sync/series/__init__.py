"""Alignment of a sensor's time series with a video, by what both of them recorded."""
