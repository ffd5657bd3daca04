"""Transfer of labels from one recording to the others."""

ANNOTATIONS, PREDICTIONS = "annotations", "predictions"  # what regions become; here, where a parser imports it quickly
