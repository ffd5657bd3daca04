"""Application of offsets to media: recordings are padded and trimmed so that they start and end together."""

MODES = ("union", "intersection", "reference")  # the time that is kept; here, where a parser imports it quickly
