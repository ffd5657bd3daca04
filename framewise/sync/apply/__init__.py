"""Application of offsets to media: recordings are padded and trimmed so that they start and end together."""
