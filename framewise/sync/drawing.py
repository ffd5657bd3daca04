"""Figures drawn without a screen. matplotlib is imported with the first one."""

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
    """A name as matplotlib shows it: dollars would begin mathematics."""
    return (text if len(text) <= length else text[: length - 3] + "...").replace("$", r"\$")
