"""Pages for people at framewise's own address: projects, scores, errors of the model, tasks to annotate next."""
