"""Estimation of the start times of several recordings of one scene."""
