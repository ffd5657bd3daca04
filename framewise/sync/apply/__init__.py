"""Offsets applied to media: recordings padded and trimmed so that they start and end together."""
