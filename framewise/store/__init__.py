"""Stored state: annotations and events, job states, trained versions."""
