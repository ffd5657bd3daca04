"""Numbers of bytes as text."""

import re

UNITS = ("", "K", "M", "G", "T")
FORM = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?", re.IGNORECASE)
EXPECTED = "expected a number of bytes, or a size such as 500MB or 10GB"


def parse_size(text: str) -> int:
    """Number of bytes of a text such as 1000, 500MB, 10GB (10^9) or 10GiB (2^30). Raises ValueError."""
    found = FORM.fullmatch(text.strip())
    if not found or (found[3] and not found[2]):
        raise ValueError(EXPECTED)
    return int(float(found[1]) * (1024 if found[3] else 1000) ** UNITS.index(found[2].upper()))


def format_size(size: float) -> str:
    """Text of a number of bytes with three digits, such as 5 B or 1.23 GB; above the largest unit, 12,345 TB."""
    unit = 0
    while unit < len(UNITS) - 1 and size >= 999.5:
        size, unit = size / 1000, unit + 1
    number = f"{size:.3g}" if size < 999.5 else f"{size:,.0f}"
    return f"{number} {UNITS[unit].replace('K', 'k')}B"
