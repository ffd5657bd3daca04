"""Media files of tasks: their addresses, and their contents."""
