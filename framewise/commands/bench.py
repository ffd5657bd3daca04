"""``framewise bench``: extraction speed of this machine."""

import argparse
from pathlib import Path

from framewise.commands.flags import DEFAULT, Commands, add_folders, check_there, check_writable, working_settings


def add_parser(commands: Commands) -> None:
    summary = "measure how fast this machine extracts features"
    parser = commands.add("bench", summary, "framewise bench video.mp4 --json figures.json", "docs/performance.md")
    video = "video to extract (default: a rendered clip of 1280x720)"
    parser.add_argument("video", nargs="?", type=Path, metavar="VIDEO", help=video)
    rounds = f"number of measurements of each way of extracting {DEFAULT}"
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help=rounds)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    parser.add_argument("--picture", type=Path, metavar="FILE.png", help="draw a chart")
    add_folders(parser, "model_root", "data_dir")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    check_there(args.video)
    check_writable(args.json, args.picture)
    from framewise.commands.benchmark import bench

    return bench(working_settings(args, "WARNING"), args.video, max(1, args.rounds), args.json, args.picture)
