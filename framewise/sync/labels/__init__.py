"""Labels of one recording carried to the others."""
