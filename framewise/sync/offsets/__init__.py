"""Finding when each of several recordings of one scene started."""
