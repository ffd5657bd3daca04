"""A network over time for scores that another learner gave: what follows what, how long it lasts, where it begins and ends.

It sees whole videos through dilated convolutions (after Farha and Gall 2019, "MS-TCN"), and learns by how much the scores
should be other ones, from none on: with few videos little changes. It is trained on out-of-fold scores: in-sample ones would
teach it to trust a learner that is less sure on new videos.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate, logsigmoid

ROWS_PER_SECOND = 15.0
CHANNELS, LAYERS, DROPOUT = 32, 6, 0.3
REACH_ROWS = 2**LAYERS - 1  # as far as the layers look on either side
WINDOW_ROWS = 4096  # of a video that are scored at once
STEPS, BATCH, CROP_SECONDS = 200, 6, 8.0
LEARNING_RATE, WEIGHT_DECAY, SMOOTHNESS = 4e-3, 1e-2, 0.3
NOISE, STRETCH = 0.2, 0.2
NEVER = -10.0  # added to the logit of a label that was never seen on
UNDECIDED, SURENESS = 0.45, 7.0  # a score as a logit: where it is 0, and how many lie between scores of 0 and 1
BALANCE = 0.5  # power of the imbalance by which positive rows weigh more


class _Layer(nn.Module):
    def __init__(self, dilation: int):
        super().__init__()
        # Zeros beyond the ends would tell how far away they are, and with it where in a video something usually is.
        self.dilated = nn.Conv1d(CHANNELS, CHANNELS, 3, padding=dilation, dilation=dilation, padding_mode="replicate")
        self.out = nn.Conv1d(CHANNELS, CHANNELS, 1)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.dropout(self.out(torch.relu(self.dilated(x))))
        return result


class TemporalNet(nn.Module):
    """Logits (B, L, T) of inputs (B, N, T), the first L of which are scores of the labels; NaN where nothing is known."""

    centre: Tensor
    scale: Tensor

    def __init__(self, inputs: int, labels: int):
        super().__init__()
        self.first = nn.Conv1d(inputs, CHANNELS, 1)
        self.layers = nn.ModuleList(_Layer(2**number) for number in range(LAYERS))
        self.last = nn.Conv1d(CHANNELS, labels, 1)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)
        self.dropout = nn.Dropout(DROPOUT)
        self.register_buffer("centre", torch.zeros(inputs, 1))
        self.register_buffer("scale", torch.ones(inputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        scores = x[:, : self.last.out_channels].clamp(0, 1)
        x = self.dropout(self.first(((x - self.centre) / self.scale).nan_to_num()))
        for layer in self.layers:
            x = layer(x)
        logits: Tensor = SURENESS * (scores - UNDECIDED) + self.last(x)
        return logits

    def probabilities(self, inputs: Tensor, frame_rate: float) -> Tensor:
        """(T, L) of inputs (T, N) at the frame rate of the video."""
        self.eval()
        with torch.inference_mode():
            coarse = _resampled(inputs, frame_rate).T.unsqueeze(0)
            parts = []
            for start in range(0, coarse.shape[2], WINDOW_ROWS):
                first, stop = max(0, start - REACH_ROWS), start + WINDOW_ROWS
                logits = self(coarse[:, :, first : stop + REACH_ROWS])
                parts.append(torch.sigmoid(logits[:, :, start - first : stop - first]))
            return interpolate(torch.cat(parts, 2), size=len(inputs), mode="linear", align_corners=False)[0].T


def fit_temporal(
    inputs: Sequence[Tensor],
    labels: Sequence[Tensor],
    taught: Sequence[Tensor],
    frame_rates: Sequence[float],
    seed: int,
    progress: Callable[[float, str], None],
) -> TemporalNet:
    """A trained network. inputs (T, N), labels (T, L), taught (L,) of each video."""
    videos = [(_resampled(x, r).T, _resampled(y, r).T.round()) for x, y, r in zip(inputs, labels, frame_rates, strict=True)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = TemporalNet(inputs[0].shape[1], labels[0].shape[1])
        everything = torch.cat([x for x, _ in videos if not x.isnan().any()] or [x.nan_to_num() for x, _ in videos], 1)
        network.centre.copy_(everything.mean(1, keepdim=True))
        network.scale.copy_(everything.std(1, keepdim=True, correction=0) + 1e-3)
        weights = _positive_weights([y for _, y in videos], taught)
        optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=STEPS, pct_start=0.2)
        network.train()
        for step in range(STEPS):
            x, y, mask, known = _batch(videos, taught)
            noise = torch.randn_like(x) + 2 * torch.randn(x.shape[0], x.shape[1], 1)
            loss = _loss(network(x + NOISE * network.scale * noise), y, mask * known, weights)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            progress((step + 1) / STEPS, "")
    seen = torch.stack([y.any(1) & t for (_, y), t in zip(videos, taught, strict=True)]).any(0)
    for parameter, value in zip(network.last.parameters(), (0.0, NEVER), strict=True):
        parameter.data[~seen] = value  # of these labels it knows nothing
    return network.eval()


def _resampled(x: Tensor, frame_rate: float) -> Tensor:
    """Means over equal numbers of rows, so that there are about ROWS_PER_SECOND of them."""
    step = max(1, round(frame_rate / ROWS_PER_SECOND))
    rows = math.ceil(len(x) / step)
    padded = torch.cat([x, x[-1:].expand(rows * step - len(x), -1)]) if rows * step > len(x) else x
    return padded.reshape(rows, step, -1).mean(1)


def _batch(videos: Sequence[tuple[Tensor, Tensor]], taught: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pieces of random videos at random places and speeds: inputs, labels, mask (B, 1, T) and taught (B, L, 1).

    mask is 0 after the end of a shorter video, where its last row is repeated.
    """
    size = round(CROP_SECONDS * ROWS_PER_SECOND)
    lengths = torch.tensor([x.shape[1] for x, _ in videos], dtype=torch.float)
    x = torch.zeros(BATCH, videos[0][0].shape[0], size)
    y, mask = torch.zeros(BATCH, videos[0][1].shape[0], size), torch.zeros(BATCH, 1, size)
    chosen = torch.multinomial(lengths, BATCH, replacement=True).tolist()
    for number, video in enumerate(chosen):
        speed = math.exp(STRETCH * (2 * float(torch.rand(())) - 1))
        span = min(size * speed, float(lengths[video]))
        start = float(torch.rand(())) * (float(lengths[video]) - span)
        rows = (start + speed * torch.arange(size)).long().clamp(max=int(lengths[video]) - 1)
        x[number], y[number] = videos[video][0][:, rows], videos[video][1][:, rows]
        mask[number, :, : math.ceil(span / speed)] = 1
    return x, y, mask, torch.stack([taught[video] for video in chosen]).unsqueeze(2).float()


def _positive_weights(labels: Sequence[Tensor], taught: Sequence[Tensor]) -> Tensor:
    """(L, 1): how much more a row counts in which the label is on."""
    on = sum((y.sum(1) * t for y, t in zip(labels, taught, strict=True)), torch.zeros(labels[0].shape[0]))
    rows = sum((y.shape[1] * t.float() for y, t in zip(labels, taught, strict=True)), torch.zeros(labels[0].shape[0]))
    share = (on / rows.clamp(min=1)).clamp(0.01, 0.99)
    return (((1 - share) / share) ** BALANCE).unsqueeze(1)


def _loss(logits: Tensor, labels: Tensor, known: Tensor, weights: Tensor) -> Tensor:
    """Weighted cross-entropy, and what jumps from row to row costs: the truncated error of MS-TCN. known: 1 where it counts."""
    weight = (1 + (weights - 1) * labels) * known
    entropy = binary_cross_entropy_with_logits(logits, labels, reduction="none") * weight
    log_scores = logsigmoid(logits)
    jumps = ((log_scores[:, :, 1:] - log_scores[:, :, :-1].detach()) ** 2).clamp(max=16) * known[:, :, 1:]
    return entropy.sum() / weight.sum().clamp(min=1) + SMOOTHNESS * jumps.sum() / known.sum().clamp(min=1)
