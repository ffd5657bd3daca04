"""All recordings on one clock, from the offsets of pairs: robust least squares, closure of loops, detection of outsiders.

Recording i: t_ref = (1 + drift_i) t_i + offset_i. Recording 0 is the reference, with offset and drift 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from scipy.optimize import least_squares


@dataclass(frozen=True)
class Link:
    """t_a = (1 + drift) t_b + offset between two recordings a < b, with its confidence. tolerance: possible error, seconds."""

    a: int
    b: int
    offset: float
    drift: float
    confidence: float
    tolerance: float


@dataclass(frozen=True)
class ClockSolution:
    """offsets, drifts, confidences: of the recordings connected with the reference.

    wrong: links that contradict the rest. outsiders: recordings that contradict the others, with the error in seconds.
    loop_residual: largest closure error of the kept links around three recordings, seconds; None without a loop.
    """

    offsets: dict[int, float]
    drifts: dict[int, float]
    confidences: dict[int, float]
    loop_residual: float | None
    wrong: tuple[Link, ...] = ()
    outsiders: dict[int, float] = field(default_factory=dict)

    def residual(self, link: Link) -> float | None:
        """Error of a link relative to the whole solution, seconds."""
        if link.a not in self.offsets or link.b not in self.offsets:
            return None
        expected = (self.offsets[link.b] - self.offsets[link.a]) / (1 + self.drifts[link.a])
        return link.offset - expected


def solve(links: Sequence[Link]) -> ClockSolution:
    """Map all recordings connected by links to the reference's clock."""
    kept, wrong, outsiders = list(links), [], {}
    while bad := _open_loops(kept):
        worst = max(abs(error) for _, error in bad)
        link = _contradicted_link(kept, bad)
        if link is not None:
            kept.remove(link)
            wrong.append(link)
            continue
        outsider = _outsider(kept, bad)
        outsiders[outsider] = worst
        kept = [link for link in kept if outsider not in (link.a, link.b)]
    confidences = _widest_paths(kept)
    inside = [link for link in kept if link.a in confidences]
    drifts = _least_squares(sorted(confidences), [(k.a, k.b, k.drift, 1e-6) for k in inside])
    starts = [(k.a, k.b, k.offset * (1 + drifts[k.a]), k.tolerance / max(k.confidence, 0.05)) for k in inside]
    offsets = _least_squares(sorted(confidences), starts)
    loops = [abs(error) for _, error in _loops(kept)]
    return ClockSolution(offsets, drifts, confidences, max(loops) if loops else None, tuple(wrong), outsiders)


def _loops(links: Sequence[Link]) -> list[tuple[tuple[Link, Link, Link], float]]:
    """All triples of fully linked recordings: (links ab, bc, ac; closure error in seconds at t_c = 0)."""
    by_ends = {(link.a, link.b): link for link in links}
    found = []
    for a, b, c in combinations(sorted({end for ends in by_ends for end in ends}), 3):
        if (a, b) in by_ends and (b, c) in by_ends and (a, c) in by_ends:
            ab, bc, ac = by_ends[a, b], by_ends[b, c], by_ends[a, c]
            found.append(((ab, bc, ac), (1 + ab.drift) * bc.offset + ab.offset - ac.offset))
    return found


def _open_loops(links: Sequence[Link]) -> list[tuple[tuple[Link, Link, Link], float]]:
    return [(loop, error) for loop, error in _loops(links) if abs(error) > sum(link.tolerance for link in loop)]


def _contradicted_link(links: list[Link], bad: list[tuple[tuple[Link, Link, Link], float]]) -> Link | None:
    """The single link in all contradictory loops, if other loops that close still connect its recordings."""
    shared = set(bad[0][0]).intersection(*(loop for loop, _ in bad))
    for link in sorted(shared, key=lambda k: k.confidence):
        rest = [other for other in links if other is not link]
        held = {end for loop, _ in _loops(rest) for other in loop for end in (other.a, other.b)}
        if {link.a, link.b} <= held and len(bad) > 1:
            return link
    return None


def _outsider(links: list[Link], bad: list[tuple[tuple[Link, Link, Link], float]]) -> int:
    """The recording whose removal leaves the fewest contradictions; among equals, preferably not the reference, then the one
    with the least confident links."""
    ends = sorted({end for loop, _ in bad for link in loop for end in (link.a, link.b)})

    def left(recording: int) -> tuple[int, bool, float]:
        without = [link for link in links if recording not in (link.a, link.b)]
        own = [link.confidence for link in links if recording in (link.a, link.b)]
        return len(_open_loops(without)), recording == 0, float(np.mean(own))

    return min(ends, key=left)


def _widest_paths(links: Sequence[Link]) -> dict[int, float]:
    """Confidence of each recording connected with the reference: that of the weakest link on the most confident path to it."""
    best, done = {0: 1.0}, set()
    while open_ends := [end for end in best if end not in done]:
        here = max(open_ends, key=lambda end: best[end])
        done.add(here)
        for link in links:
            if here in (link.a, link.b):
                there = link.b if here == link.a else link.a
                best[there] = max(best.get(there, 0.0), min(best[here], link.confidence))
    return best


def _least_squares(recordings: list[int], equations: Sequence[tuple[int, int, float, float]]) -> dict[int, float]:
    """Solve x_b - x_a = value for all (a, b, value, scale), with x_0 = 0; outliers count little (soft L1)."""
    unknown = {recording: place for place, recording in enumerate(r for r in recordings if r != 0)}
    if not unknown or not equations:
        return dict.fromkeys(recordings, 0.0)
    rows = np.zeros((len(equations), len(unknown)))
    for row, (a, b, _, scale) in enumerate(equations):
        for end, sign in ((a, -1.0), (b, 1.0)):
            if end in unknown:
                rows[row, unknown[end]] = sign / scale
    right = np.array([value / scale for _, _, value, scale in equations])
    start = np.linalg.lstsq(rows, right, rcond=None)[0]
    found = least_squares(
        lambda x: rows @ x - right, start, jac=lambda x: rows, loss="soft_l1", xtol=1e-14, ftol=1e-14, gtol=1e-14
    )
    return {0: 0.0, **{recording: float(found.x[place]) for recording, place in unknown.items()}}
