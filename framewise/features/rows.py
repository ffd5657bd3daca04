"""Storage format of a picture's features: one record of plain numbers per picture, in a quarter of the bytes.

The backbone's numbers are quantised to 256 steps between the picture's own minimum and maximum. This is far finer than the
difference between two resizing methods, and learning loses nothing (docs/decisions/0016).
"""

import numpy as np
import numpy.typing as npt

from framewise.features.motion import MOTION_SIZE

STEPS = 255


def pack(
    pts: npt.NDArray[np.int64], features: npt.NDArray[np.float32], motion: npt.NDArray[np.float32]
) -> npt.NDArray[np.void]:
    """Records (P,) of pictures: their times (P,), features (P, D) and motion (P, MOTION_SIZE)."""
    low = features.min(axis=1, keepdims=True)
    step = (features.max(axis=1, keepdims=True) - low) / STEPS
    rows = np.empty(len(pts), dtype=_record(features.shape[1]))
    rows["pts"], rows["low"], rows["step"], rows["motion"] = pts, low[:, 0], step[:, 0], motion
    rows["features"] = np.rint((features - low) / np.where(step > 0, step, 1))
    return rows


def unpack(rows: npt.NDArray[np.void]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Features (P, D) and motion (P, MOTION_SIZE) of records (P,)."""
    features = np.empty(rows["features"].shape, dtype=np.float32)
    np.multiply(rows["features"], rows["step"][:, None], out=features)
    features += rows["low"][:, None]
    return features, rows["motion"].astype(np.float32)


def _record(feature_size: int) -> np.dtype[np.void]:
    return np.dtype(
        [
            ("pts", "<i8"),
            ("low", "<f4"),
            ("step", "<f4"),
            ("features", "u1", (feature_size,)),
            ("motion", "<f2", (MOTION_SIZE,)),
        ]
    )
