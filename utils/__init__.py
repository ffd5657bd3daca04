"""Names of Label Studio's guide to TimelineLabels; what is behind them lives in the package framewise."""
