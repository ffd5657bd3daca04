"""Migration of projects that played a video beside a time series by a script in their tasks to current Label Studio."""
