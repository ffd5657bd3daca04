"""Projects that played a video beside a time series by a script in their tasks, brought to Label Studio of today."""
