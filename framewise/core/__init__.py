"""Pure logic: the frame grid, regions, segments, metrics. Standard library and numpy only."""
