"""Several recordings of one scene on one clock: what is known of them, applied to media and to labels."""
