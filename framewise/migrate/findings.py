"""Findings about a task, and safe display of untrusted text."""

import html
from typing import Any

from framewise.core.errors import FramewiseError

MAX_SHOWN_CHARS = 120


class NeedsReview(FramewiseError):
    """A task that is left unchanged and needs review. The message gives the reason and the cure."""


def shown(value: Any) -> str:
    """Make untrusted text safe for a terminal and a page: no markup, no control characters, limited length."""
    text = str(value)
    cut = text if len(text) <= MAX_SHOWN_CHARS else text[:MAX_SHOWN_CHARS] + "..."
    plain = "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in cut)
    return html.escape(plain, quote=False)
