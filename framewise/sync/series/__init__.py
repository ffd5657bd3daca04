"""A sensor's time series aligned with a video by what both of them measured."""
