"""Many videos at once: found, extracted by all processors or by a cluster, and told of."""
