"""Findings about a task, and safe display of strangers' text."""

import html
from typing import Any

from framewise.core.errors import FramewiseError

MAX_SHOWN_CHARS = 120


class NeedsReview(FramewiseError):
    """A task that is left as it is: somebody has to look at it. The message says why, and what to do."""


def shown(value: Any) -> str:
    """Text of a stranger, fit for a terminal and for a page: no markup, no control characters, not long."""
    text = str(value)
    cut = text if len(text) <= MAX_SHOWN_CHARS else text[:MAX_SHOWN_CHARS] + "..."
    plain = "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in cut)
    return html.escape(plain, quote=False)
