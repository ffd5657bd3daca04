"""Compare the extraction of many videos by one process per processor with one process and a thread per processor.

    python -m tools.extract_speed --videos 24 --rounds 3

Renders clips, and extracts them with the processes of ``framewise extract``, both ways in turn, each time to an empty cache.
Prints the median of pictures per second of each way, including the start of processes, and the ratio.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from joblib import cpu_count

# Imported where used, like in the command: an extracting process runs this file first, and these modules import torch, whose
# number of threads is set at import.


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    from framewise.demo.clips import render_clips

    rates: dict[int, list[float]] = {cpu_count(): [], 1: []}
    with tempfile.TemporaryDirectory() as folder:
        render_clips(Path(folder) / "clips", args.videos, seed=5)
        for number in range(args.rounds):
            for processes, measured in rates.items():
                measured.append(pictures_a_second(Path(folder), f"{number}-{processes}", processes))
                print(f"{processes} processes, {cpu_count() // processes} threads each: {measured[-1]:.0f} pictures a second")
    medians = {processes: statistics.median(measured) for processes, measured in rates.items()}
    for processes, median in medians.items():
        print(f"median of {args.rounds}: {processes} processes {median:.0f} pictures a second")
    print(f"ratio {medians[cpu_count()] / medians[1]:.2f}")


def pictures_a_second(folder: Path, name: str, processes: int) -> float:
    """Measure with an empty cache."""
    from framewise.bulk.machine import extract_here
    from framewise.bulk.videos import find
    from framewise.settings import Settings

    own = {"MODEL_ROOT": "models", "CACHE_DIR": f"cache-{name}", "DATA_DIR": "data"}
    env = {**{variable: str(folder / path) for variable, path in own.items()}, "MODEL_PATH": "efficientnet-lite0"}
    settings = Settings.from_env(env)
    settings.cache_dir.mkdir()
    found = find(settings, folder / "clips", None, None)
    began = time.monotonic()
    pictures = 0
    for outcome in extract_here(found.settings, found.videos, processes, lambda share: None):
        if outcome:
            assert outcome.state == "extracted", outcome
            pictures += outcome.pictures
    return pictures / (time.monotonic() - began)


if __name__ == "__main__":
    main()
