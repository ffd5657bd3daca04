"""Figures drawn without a display. matplotlib is imported for the first one."""

from pathlib import Path
from typing import Any

_DPI = 110


def new_figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Any, path: Path) -> Path:
    figure.savefig(path, dpi=_DPI)
    return path


def plain(text: str, length: int = 40) -> str:
    """Shorten and escape a name for matplotlib, in which dollar signs start a formula."""
    return (text if len(text) <= length else text[: length - 3] + "...").replace("$", r"\$")
