"""Where a task's file comes from, and what is in it."""
