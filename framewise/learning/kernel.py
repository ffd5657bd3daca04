"""Learner in closed form: kernel ridge regression on each row's context, fitted in a second, and good with few videos.

The kernel is a weighted sum over the blocks of ``context``, each a blend of a linear and a Gaussian kernel: the linear part
generalises to new scenes, the Gaussian part learns nonlinear relations from enough data. Rows of a block have a mean squared
length of 1; the weights of the blocks are chosen in ``evidence``. Source: Saunders, Gammerman and Vovk 1998, "Ridge Regression
Learning Algorithm in Dual Variables"; the parameters are from docs/decisions/0012.

Shapes: N learned rows, B numbers of a block, K blocks, L labels, T rows of a track.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor

from framewise.learning.context import blocks, cells, end_to_end, shape, windows
from framewise.learning.folds import Piece
from framewise.learning.memory import give_back
from framewise.learning.tracks import Layout, Track

MAX_ROWS = 2400  # maximum of learned rows: neighbours are nearly the same
SHORTEST_STEP_SECONDS = 0.1
LINEAR_SHARE = 0.6
GAUSSIAN_RATE = 1.0
# Ridge per row, and its maximum: without it, many rows would smooth away what earlier videos taught.
RIDGE, MAX_RIDGE = 1e-3, 1.0
KERNEL_SIZE = 4.5  # mean kernel value of a row with itself, for any weights of the blocks
STEADY_SECONDS, MIN_STEADY = 0.3, 0.05
KERNEL_ROWS = 256  # rows of a kernel computed at once
COMPUTED_PER_SECOND = 15.0  # rows: neighbours have nearly the same context
# Maximum mean residual of rows not explained by the kept ones; maximum number of kept rows; ridge against singularity.
UNLIKE, MAX_KEPT, JITTER = 0.05, 1000, 1e-5
LEFT_OUT_EACH = 3  # one row in this many is learned again without a medium
EMPTY = 1e-6  # squared length below which a block is empty


class Block(NamedTuple):
    """Kernel ridge regression of one kind of evidence: rows (M, B), standardised by centre (B,) and scale (B,), linear
    coefficients (B, L), and coefficients of the Gaussian kernel with each row, gaussian (M, L)."""

    rows: Tensor
    centre: Tensor
    scale: Tensor
    linear: Tensor
    gaussian: Tensor

    def fits_together(self, num_labels: int) -> bool:
        """True if the sizes of the tensors are consistent."""
        kept, size = len(self.rows), len(self.centre)
        sizes = [(kept, size), (size,), (size,), (size, num_labels), (kept, num_labels)]
        return [tensor.shape for tensor in self] == sizes

    def with_fewer_rows(self) -> "Block":
        """Keep only some rows, with coefficients that approximate the contribution of all rows best."""
        # Rounded as they will be stored, because the coefficients depend on each digit.
        kept = self.rows[_diverse_rows(self.rows)].half().float()
        among = _gaussian(kept, kept).double()
        among.diagonal().add_(JITTER)
        gaussian = torch.linalg.solve(among, (_gaussian(kept, self.rows) @ self.gaussian).double()).float()
        return self._replace(rows=kept, gaussian=gaussian)


class Sample:
    """Learned rows of annotated tracks, and their kernels in each block of ``context.blocks``.

    blocks:  (N, B) each, standardised by centres (B,) and scales (B,).
    there:   (N, K), 1 if the block of a row is known, otherwise 0.
    labels:  (N, L), valid where known (N, L) is true.
    steady:  (K,), from 0 to 1, steadiness of motion in the blocks of motion.
    originals: number of complete rows, which come first; the others repeat these without one of their media.
    tracks, rows: (N,), track of each row, and its index there.
    kernels: (N, N) each. sizes: means of their diagonals, (K,), 0 for an empty block.
    """

    def __init__(self, tracks: Sequence[Track], needed: Sequence[Tensor]):
        """needed: for each track, mask (T,) of rows that are always learned from."""
        self.layout = layout = tracks[0].layout
        most = MAX_ROWS / (1 + len(layout.widths) / LEFT_OUT_EACH) if layout and not layout.complete else MAX_ROWS
        each = math.ceil(sum(int(rows.sum()) for rows in needed) / (most / 2))
        some = most - sum(int(rows.sum()) for rows in needed) / max(each, 1)
        step = math.ceil(sum(int(t.known.any(1).sum()) for t in tracks) / some)
        chosen = [_chosen(t, step, rows, each) for t, rows in zip(tracks, needed, strict=True)]
        steadiness = [_Steadiness(), _Steadiness()]
        parts = (part for t, own in zip(tracks, chosen, strict=True) for part in _blocks_of(t, own, steadiness))
        rows = end_to_end(parts, sum(len(own) for own in chosen))
        # In a block that is unknown in all rows, the values do not matter.
        of_known = [_known_rows(block) for block in rows] if layout else rows
        # In double precision, so that constant numbers become 0 and not a rounding error that would be scaled to 1.
        self.centres = [block.mean(0, dtype=torch.float64).float() for block in of_known]
        scales = [_seen_scale(block) for block in of_known[:-2]]
        scales += [_motion_scale(block, s.values()) for block, s in zip(of_known[-2:], steadiness, strict=True)]
        self.steady = torch.stack([_squared_length(*of) for of in zip(of_known, self.centres, scales, strict=True)])
        self.scales = [s * max(float(steady), EMPTY) ** 0.5 for s, steady in zip(scales, self.steady, strict=True)]
        for block, centre, scale in zip(rows, self.centres, self.scales, strict=True):
            block.sub_(centre).div_(scale)
        self.labels = torch.cat([t.frame_labels[r] for t, r in zip(tracks, chosen, strict=True)])
        self.known = torch.cat([t.known[r] for t, r in zip(tracks, chosen, strict=True)])
        self.tracks = torch.cat([torch.full((len(own),), number) for number, own in enumerate(chosen)])
        self.rows = torch.cat(chosen)
        self.there, self.originals = torch.ones(len(self.rows), len(rows)), len(self.rows)
        if layout and not layout.complete:
            rows, self.there, origin = _with_media_left_out(rows, layout)
            self.labels, self.known = self.labels[origin], self.known[origin]
            self.tracks, self.rows = self.tracks[origin], self.rows[origin]
        self.blocks = rows
        self.kernels = [_kernel(block, there) for block, there in zip(rows, self.there.T, strict=True)]
        # The Gaussian kernel of rows that are all 0 is 1.
        says = [bool(block.square().sum(1).mean() > EMPTY) for block in rows]
        self.sizes = torch.stack([kernel.diagonal().mean() * own for kernel, own in zip(self.kernels, says, strict=True)])

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def active(self) -> list[int]:
        """Blocks that are not empty."""
        return [number for number, size in enumerate(self.sizes.tolist()) if size > EMPTY]

    def weights(self, shares: Tensor) -> Tensor:
        """Convert shares (..., K) of the blocks to weights for which the kernel has KERNEL_SIZE."""
        shares = torch.where(self.sizes > EMPTY, shares, 0.0)
        weights: Tensor = KERNEL_SIZE * shares / (shares * self.sizes).sum(-1, keepdim=True).clamp(min=EMPTY)
        return weights

    def inside(self, pieces: Sequence[Piece]) -> Tensor:
        """Mask (N,) of rows inside some pieces of the tracks."""
        found = torch.zeros(len(self), dtype=torch.bool)
        for track, start, stop in pieces:
            found |= (self.tracks == track) & (self.rows >= start) & (self.rows < stop)
        return found

    def kernel(self, weights: Tensor, rows: Tensor) -> Tensor:
        """Kernel (n, n) of some rows (n,), with a ridge; weights (K,)."""
        everything = len(rows) == len(self)
        total = torch.zeros(len(rows), len(rows))
        for kernel, weight in zip(self.kernels, weights.tolist(), strict=True):
            if weight:
                total.add_(kernel if everything else kernel[rows][:, rows], alpha=weight)
        total.diagonal().add_(min(RIDGE * len(rows), MAX_RIDGE))
        return total


class Solution(NamedTuple):
    """Coefficients of the rows for each label, (N, L), and the prior score of each label, (L,)."""

    counts: Tensor
    prior: Tensor


def solve(sample: Sample, weights: Tensor, left_out: Sequence[Tensor], every: int = 1) -> tuple[Solution, list[Solution]]:
    """Solution from all rows, and one without the rows of each mask (N,) in ``left_out``, all by a single inverse.

    weights: (L, K), of the blocks for each label. every: only every n-th row is used. A label counts where it is known.
    Without some rows the solution is a - G[:, out] G[out, out]^-1 a[out], where G is the inverse of the kernel with its ridge
    and a = G (y - mean): see inverses of partitioned matrices.
    """
    whole = Solution(torch.zeros_like(sample.labels), torch.zeros(sample.labels.shape[1]))
    parts = [Solution(torch.zeros_like(sample.labels), torch.zeros(sample.labels.shape[1])) for _ in left_out]
    used = torch.zeros(len(sample), dtype=torch.bool)
    used[::every] = True
    for columns, rows in _patterns(weights, sample.known & used[:, None]):
        target = sample.labels[rows][:, columns]
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(sample.kernel(weights[columns[0]], rows)))
        at = rows.unsqueeze(1), columns
        whole.prior[columns] = mean = target.mean(0)
        whole.counts[at] = inverse @ (target - mean)
        for part, outside in zip(parts, left_out, strict=True):
            out, learned = outside[rows].nonzero()[:, 0], (~outside[rows]).nonzero()[:, 0]
            if not len(learned):
                continue
            part.prior[columns] = mean = target[learned].mean(0)
            counts = inverse @ (target - mean)
            if len(out):
                counts -= inverse[:, out] @ torch.linalg.solve(inverse[out][:, out], counts[out])
                counts[out] = 0
            part.counts[at] = counts
    return whole, parts


def _patterns(weights: Tensor, known: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (columns, rows) of labels with the same weights that are known in the same rows."""
    told, which = torch.unique(known, dim=1, return_inverse=True)
    alike, kind = torch.unique(weights, dim=0, return_inverse=True)
    for pattern in range(told.shape[1]):
        rows = told[:, pattern].nonzero()[:, 0]
        for number in range(len(alike)) if len(rows) else ():
            columns = ((which == pattern) & (kind == number)).nonzero()[:, 0]
            if len(columns):
                yield columns, rows


@dataclass(frozen=True)
class KernelRidge:
    """Sum of a ``Block`` for each of ``context.blocks``. prior (L,): score without any evidence."""

    blocks: list[Block]
    prior: Tensor

    @classmethod
    def of(cls, sample: Sample, weights: Tensor, solution: Solution) -> Self:
        """Make the model of a solution. weights: (L, K), as used for the solution."""
        found = []
        for number, block in enumerate(sample.blocks):
            counts = sample.there[:, number : number + 1] * solution.counts * weights[:, number]
            linear, gaussian = LINEAR_SHARE * (block.T @ counts), (1 - LINEAR_SHARE) * counts
            found.append(Block(block, sample.centres[number], sample.scales[number], linear, gaussian))
        return cls(found, solution.prior)

    def with_fewer_rows(self) -> Self:
        """Approximation by a diverse subset of each block's rows, with nearly the same scores, several times as fast.

        Sources: Williams and Seeger 2001, "Using the Nyström Method to Speed Up Kernel Machines"; rows chosen by an incomplete
        Cholesky decomposition, as in Fine and Scheinberg 2001, "Efficient SVM Training Using Low-Rank Kernel Representations".
        """
        blocks = [block.with_fewer_rows() for block in self.blocks]
        give_back()
        return type(self)(blocks, self.prior)

    def scores(self, track: Track, all_rows: bool = False) -> Tensor:
        """Scores (T, L), around 0 where a label is off and 1 where it is on; interpolated between computed rows."""
        step = 1 if all_rows else max(1, round(track.frame_rate / COMPUTED_PER_SECOND))
        rows = torch.arange(0, len(track) - 1 + step, step).clamp(max=max(len(track) - 1, 0))
        computed = end_to_end(([self._scores(b)] for b in _blocks_of(track, rows)), len(rows))[0]
        return computed if len(rows) == len(track) else _between(rows, computed, len(track))

    def _scores(self, inside: Sequence[Tensor]) -> Tensor:
        """Scores (N, L) of blocks (N, B), which are overwritten. Unknown blocks are NaN and add nothing."""
        scores = self.prior.repeat(len(inside[0]), 1)
        for numbers, block in zip(inside, self.blocks, strict=True):
            if not (block.linear.any() or block.gaussian.any()):
                continue
            scaled = numbers.sub_(block.centre).div_(block.scale)
            known = ~scaled.isnan().any(1, keepdim=True)
            scaled.nan_to_num_()
            for rows in torch.arange(len(scaled)).split(KERNEL_ROWS):
                own = scaled[rows]
                scores[rows] += (own @ block.linear + _gaussian(own, block.rows) @ block.gaussian) * known[rows]
        return scores


def _between(rows: Tensor, values: Tensor, length: int) -> Tensor:
    """Interpolate (length, L) between values (N, L) of some rows, ascending from the first to the last."""
    at = torch.arange(length)
    after = torch.searchsorted(rows, at).clamp(min=1)
    first, last = rows[after - 1], rows[after]
    share = ((at - first) / (last - first).clamp(min=1)).unsqueeze(1)
    return torch.lerp(values[after - 1], values[after], share)


def _diverse_rows(block: Tensor) -> Tensor:
    """Rows of a block (N, B) to keep, which represent the others well."""
    alike = _gaussian(block, block)
    most = min(MAX_KEPT, len(block))
    rest, factors = alike.diagonal().clone(), alike.new_zeros(most, len(block))
    kept: list[int] = []
    while len(kept) < most and float(rest.mean()) > UNLIKE:
        row, done = int(rest.argmax()), len(kept)
        factor = (alike[row] - factors[:done, row] @ factors[:done]) / rest[row].sqrt()
        factors[done] = factor
        rest = (rest - factor * factor).clamp(min=0)
        rest[row] = 0
        kept.append(row)
    return torch.tensor(kept, dtype=torch.long)


class _Steadiness:
    """Steadiness of each motion number: its autocorrelation a moment later, over all videos.

    Random changes from picture to picture are noise, which would otherwise count as much as what distinguishes labels.
    """

    def __init__(self) -> None:
        self._rows = self._pairs = 0
        self._sums: list[Tensor] = []

    def add(self, numbers: Tensor, inside: slice, lag: int) -> None:
        """Add numbers (T, N) of a part of a video: its rows ``inside``, compared with those ``lag`` rows later."""
        own, after = numbers[inside].double(), numbers[inside.start + lag : inside.stop + lag].double()
        before = own[: len(after)]
        self._rows, self._pairs = self._rows + len(own), self._pairs + len(after)
        sums = [own.sum(0), (own * own).sum(0), (before + after).sum(0), (before * after).sum(0)]
        self._sums = [known + new for known, new in zip(self._sums, sums, strict=True)] if self._sums else sums

    def values(self) -> Tensor:
        """Steadiness (N,) from MIN_STEADY to 1; ones (1,) if nothing was added."""
        if not self._sums:
            return torch.ones(1)
        total, squares, both, products = self._sums
        mean = total / self._rows
        variance = (squares / self._rows - mean * mean).clamp(min=0) + 1e-9
        shared = (products - mean * both + self._pairs * mean * mean) / max(self._pairs, 1)
        return (shared / variance).clamp(MIN_STEADY, 1.0).float()


def _blocks_of(track: Track, rows: Tensor, steadiness: Sequence[_Steadiness] = ()) -> Iterator[list[Tensor]]:
    """Yield ``blocks`` of ascending rows, window by window, and add ``cells`` and ``shape`` of all rows to the steadiness."""
    lag = max(1, round(STEADY_SECONDS * track.frame_rate))
    for part, first, inside in windows(track):
        motion = cells(part), shape(part)
        for steady, numbers in zip(steadiness, motion, strict=False):
            if not (track.layout and numbers.isnan().any()):
                steady.add(numbers, inside, lag)
        own = rows[(rows >= first + inside.start) & (rows < first + inside.stop)]
        yield blocks(part, *motion, own - first)


def _chosen(track: Track, step: int, needed: Tensor, each: int) -> Tensor:
    """Known rows of a track: one every ``step`` rows, and every ``each``-th of the needed ones."""
    known = track.known.any(1)
    chosen = torch.zeros(len(track), dtype=torch.bool)
    chosen[known.nonzero()[:, 0][:: max(step, round(SHORTEST_STEP_SECONDS * track.frame_rate), 1)]] = True
    chosen[(known & needed).nonzero()[:, 0][:: max(each, 1)]] = True
    return chosen.nonzero()[:, 0]


def _squared_length(block: Tensor, centre: Tensor, scale: Tensor) -> Tensor:
    """Mean squared length of the standardised rows (N, B)."""
    return (((block - centre) / scale) ** 2).sum(1).mean() if block.numel() else torch.zeros(())


def _seen_scale(block: Tensor) -> Tensor:
    """Common scale (B,): components count by their spread."""
    if not block.shape[1]:  # rows that are all alike have no components
        return block.new_ones(0)
    total = block.var(0, correction=0).sum().sqrt() + 1e-6
    return total.expand(block.shape[1])


def _motion_scale(block: Tensor, steady: Tensor) -> Tensor:
    """Scale (B,) with which motion numbers count by their steadiness. steady (N,): of the numbers that the block repeats for
    each of its windows in time."""
    deviation = block.std(0, correction=0) + 0.01 * block.std(correction=0) + 1e-6
    share = steady.repeat(block.shape[1] // len(steady)) / block.shape[1]
    return deviation / share.sqrt()


def _with_media_left_out(rows: Sequence[Tensor], layout: Layout) -> tuple[list[Tensor], Tensor, Tensor]:
    """Add copies of some rows without one of their media, so that the learner copes with missing media.

    Returns blocks (N, B), in which NaN became 0; known (N, blocks); and the original index of each row, (N,).
    """
    filled, known = _filled(rows)
    origins, masks = [torch.arange(len(known))], [known]
    for medium in range(len(layout.widths)):
        own = torch.zeros(len(rows), dtype=torch.bool)
        own[2 * medium : 2 * medium + 2] = True
        own[-2:] |= medium == layout.moving
        # Without another known medium, the copy would be empty.
        besides = known[:, : -2 or None][:, ~own[:-2]].any(1)
        some = (known[:, own].all(1) & besides).nonzero()[:, 0][medium::LEFT_OUT_EACH]
        origins.append(some)
        masks.append(known[some] * ~own)
    origin, mask = torch.cat(origins), torch.cat(masks)
    return [block[origin] for block in filled], mask, origin


def _known_rows(block: Tensor) -> Tensor:
    known = block[~block.isnan().any(1)]
    return known if len(known) else torch.zeros(1, block.shape[1])


def _filled(rows: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
    """Blocks (N, B) with 0 for NaN, and the mask of known ones, (N, blocks)."""
    known = torch.stack([~block.isnan().any(1) for block in rows], 1).float()
    return [block.nan_to_num() for block in rows], known


def _kernel(block: Tensor, there: Tensor) -> Tensor:
    """Kernel (N, N) of rows (N, B); 0 for rows that are not there."""
    total = torch.empty(len(block), len(block))
    for first, rows in zip(range(0, len(block), KERNEL_ROWS), block.split(KERNEL_ROWS), strict=True):
        product = rows @ block.T
        part = total[first : first + KERNEL_ROWS]
        part[:] = LINEAR_SHARE * product + (1 - LINEAR_SHARE) * _gaussian(rows, block, product)
        part.mul_(there[first : first + KERNEL_ROWS].unsqueeze(1)).mul_(there)
    return total


def _gaussian(left: Tensor, right: Tensor, product: Tensor | None = None) -> Tensor:
    """Gaussian kernel (N, M) of N rows on the left and M on the right. product: left @ right.T, if already computed."""
    product = left @ right.T if product is None else product
    lengths = (left * left).sum(1).unsqueeze(1) + (right * right).sum(1)
    return lengths.sub_(product, alpha=2).clamp_(min=0).mul_(-GAUSSIAN_RATE).exp_()
