"""Files that a user named."""

from pathlib import Path

from framewise.core.errors import RequestError


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, with or without its mark. Raises RequestError."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise RequestError(f"cannot read {path}: {reason}") from None
