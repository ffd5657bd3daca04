"""Draw docs/images/unmarked.png: which frames are on, off and unknown under each model_unmarked.

Run ``python docs/images/unmarked.py`` from the repository. The cells are those that framewise.core.known makes of the regions.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import Patch, Rectangle

from framewise.core.converter import regions_to_frame_labels
from framewise.core.known import known_cells, never_overlapping, reviewed_rows
from framewise.core.metrics import runs
from framewise.core.regions import TimelineRegion

FRAMES, LABELS = 100, ["Kick", "Run"]
MARKED = [("Kick", 6, 12), ("Run", 16, 26), ("Kick", 44, 50), ("Run", 53, 62)]
SKIPPED = (30, 39)
ON, OFF, SKIP, INK = "#1f5f99", "#dbe3ea", "#d9a441", "#333333"
HEIGHT = 0.7


def main() -> None:
    regions = [TimelineRegion((label,), ((start, end),)) for label, start, end in MARKED]
    hiding = [TimelineRegion(("Skipped",), (SKIPPED,))]
    on = regions_to_frame_labels(regions, LABELS, FRAMES) > 0
    figure, axes = plt.subplots(figsize=(9, 4.6))
    top = 0.0

    def bar(index: int, stop: int, colour: str, hatch: str | None = None) -> None:
        edge = "#b9c2ca" if hatch else colour
        axes.add_patch(
            Rectangle((index, top), stop - index, HEIGHT, facecolor=colour, hatch=hatch, edgecolor=edge, linewidth=0)
        )

    def name(text: str, bold: bool = False) -> None:
        weight = "bold" if bold else "normal"
        axes.text(-1.5, top + HEIGHT / 2, text, ha="right", va="center", color=INK, fontsize=10, fontweight=weight)

    def head(text: str) -> None:
        axes.text(0, top + HEIGHT / 2, text, ha="left", va="center", color=INK, fontsize=10, fontweight="bold")

    head("The annotation")
    for column, label in enumerate(LABELS):
        top += 1
        name(label)
        axes.plot([0, FRAMES], [top + HEIGHT / 2] * 2, color="#c4ccd3", linewidth=1, zorder=0)
        for index, stop in runs(on[:, column]):
            bar(index, stop, ON)
    top += 1
    name("Skipped")
    axes.plot([0, FRAMES], [top + HEIGHT / 2] * 2, color="#c4ccd3", linewidth=1, zorder=0)
    bar(SKIPPED[0] - 1, SKIPPED[1], SKIP)
    for unmarked in ("off", "after_last", "unknown"):
        top += 1.5
        head(f'model_unmarked="{unmarked}"')
        apart = never_overlapping([on]) if unmarked == "unknown" else None
        known = known_cells(on, reviewed_rows(regions, hiding, FRAMES, unmarked), on.any(axis=0), apart)
        for column, label in enumerate(LABELS):
            top += 1
            name(label)
            for cells, colour, hatch in (
                (~known[:, column], "white", "////"),
                (known[:, column] & ~on[:, column], OFF, None),
                (known[:, column] & on[:, column], ON, None),
            ):
                for index, stop in runs(cells):
                    bar(index, stop, colour, hatch)
    axes.set_xlim(-9, FRAMES)
    axes.set_ylim(top + 1, -0.3)
    axes.axis("off")
    kinds = [
        Patch(facecolor=ON, label="on"),
        Patch(facecolor=OFF, label="off"),
        Patch(facecolor="white", edgecolor="#b9c2ca", hatch="////", label="unknown: not learned from"),
        Patch(facecolor=SKIP, label='region with model_role="unreviewed"'),
    ]
    figure.legend(handles=kinds, ncols=4, loc="lower center", frameon=False, fontsize=9)
    figure.subplots_adjust(left=0.01, right=0.99, top=0.99, bottom=0.08)
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=130, facecolor="white")


if __name__ == "__main__":
    main()
