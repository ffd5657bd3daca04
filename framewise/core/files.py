"""Text files named by users."""

from pathlib import Path

from framewise.core.errors import RequestError


def read_text(path: Path) -> str:
    """Text of a UTF-8 file, with or without a byte order mark. Raises RequestError."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise RequestError(f"cannot read {path}: {reason}") from None
