"""Several recordings of one scene, on one clock: offsets by sound and by picture, applied, checked, and labels carried over."""
