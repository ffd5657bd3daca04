"""Sources and contents of a task's media files."""
