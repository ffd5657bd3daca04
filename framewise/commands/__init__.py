"""Commands of ``framewise``, one module each, named like the command."""
