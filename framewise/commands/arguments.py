"""Numbers on the command line, as argparse's ``type``."""

import argparse
import math


def number(text: str) -> float:
    """Parse a number; NaN if the text is not one."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def above_zero(text: str, what: str = "a number above 0") -> float:
    """Parse a number above 0. Raises ArgumentTypeError that says ``what`` was expected."""
    value = number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected {what}, found {text!r}")
    return value


def seconds_above_zero(text: str) -> float:
    return above_zero(text, "seconds above 0")


def share(text: str) -> float:
    """Parse a number from 0 to 1. Raises ArgumentTypeError."""
    value = number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, found {text!r}")
    return value
