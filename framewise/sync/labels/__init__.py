"""Transfer of labels from one recording to the others."""
