"""Pages for people at framewise's own address: what it knows, where it is wrong, what to annotate next."""
