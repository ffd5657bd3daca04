"""Quality of estimated offsets, on pairs whose offsets are known."""
