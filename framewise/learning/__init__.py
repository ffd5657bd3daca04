"""Networks over time, their training, and their files."""
