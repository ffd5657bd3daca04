"""Commands of ``framewise``: one module a command, found by its name."""
