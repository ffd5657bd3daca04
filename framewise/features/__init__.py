"""Pictures to feature vectors: the backbone, one pass over a video, the cache."""
