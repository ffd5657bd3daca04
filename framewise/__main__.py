"""``python -m framewise``: the same as the ``framewise`` command."""

from framewise.commands.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
