"""Learning from a recording that is being annotated: a few drawn intervals of one label, all else unknown."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from framewise.core.intervals import Span
from framewise.core.known import Mask
from framewise.core.metrics import f1_of_counts
from framewise.learning.auto import learn_quickly
from framewise.learning.threads import processors_left_free
from framewise.learning.tracks import LabelledVideo, Rows

# The annotator ended an interval where the label ends, so the rows just outside of it are off: half as many as inside, at most
# of these seconds. With one drawn interval of a rendered recording of four minutes, frame F1 / F1@50 of all others of the label
# is .88 / .84 (shaken and turned sensors), .73 / .63 (worn ones) and .61 / .56 (motions); with three .94 / .90, .78 / .69 and
# .78 / .72. Learning all unmarked rows as off, with a lower threshold, finds much less: at most .22, and .52 with three.
EDGE_SHARE, EDGE_SECONDS = 0.5, 2.0


def marked_cells(drawn: Sequence[Span], off: Sequence[Span], rows: int, frame_rate: float) -> tuple[Mask, Mask]:
    """Rows in which a label is on, and rows in which it is known to be on or off, (T,) each. off: spans without the label."""
    on, known = np.zeros(rows, dtype=bool), np.zeros(rows, dtype=bool)
    for index, stop in drawn:
        edge = max(1, round(min(EDGE_SHARE * (stop - index), EDGE_SECONDS * frame_rate)))
        known[max(index - edge, 0) : stop + edge] = True
        on[index:stop] = True
    for index, stop in off:
        known[index:stop] = True
    return on, known


def agreement(found: Mask, on: Mask, known: Mask) -> float:
    """Frame F1 (of rows, (T,) each) of what was found, where it is known."""
    return float(f1_of_counts(*(np.sum(side & known) for side in (found & on, found & ~on, ~found & on))))


@processors_left_free()
def learn_draft(rows: Rows, on: Mask, known: Mask) -> npt.NDArray[np.float64]:
    """Scores (T,) in [0, 1] of a label in its own recording, on from 0.5. on, known: as of ``marked_cells``."""
    labels = on[:, None].astype(np.uint8)
    classifier = learn_quickly([LabelledVideo(rows, labels, known[:, None], "draft")], ["drawn"], None)
    found: npt.NDArray[np.float64] = replace(classifier, limits=None).predict(rows)[:, 0]
    return found
