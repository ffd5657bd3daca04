"""Extraction of many videos: finding them, extracting on all processors or on a cluster, reporting."""
