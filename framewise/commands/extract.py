"""``framewise extract``: extraction of many videos in advance."""

import argparse
import signal
from pathlib import Path

from framewise.commands.flags import PROJECT_HELP, Commands, add_folders, check_there, working_settings


def add_parser(commands: Commands) -> None:
    summary = "extract features of many videos in advance"
    parser = commands.add("extract", summary, "framewise extract /srv/videos", "docs/many-videos.md")
    videos = "a folder of videos, an export, or a list of {'data': ...} (default: the project's tasks)"
    parser.add_argument("source", type=Path, nargs="?", metavar="FOLDER|TASKS.json", help=videos)
    config = "the labeling config (default: the project's own; a folder needs none)"
    parser.add_argument("--config", type=Path, metavar="FILE.xml", help=config)
    parser.add_argument("--project", metavar="PROJECT", help=PROJECT_HELP)
    parser.add_argument("--jobs", type=_jobs, metavar="N", help="number of processes (default: one per processor)")
    dask = "extract on the workers of this Dask scheduler, tcp://host:8786"
    parser.add_argument("--dask", metavar="ADDRESS", help=dask)
    add_folders(parser, "model_root", "cache_dir", "data_dir", "local_files_roots")
    parser.set_defaults(run=run)


def _jobs(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to 1024, found {text!r}")
    return int(text)


def run(args: argparse.Namespace) -> int:
    check_there(args.source, args.config)
    from framewise.commands.extraction import extract

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end like on Ctrl-C: processes first, then the summary
    return extract(working_settings(args, "ERROR"), args.source, args.config, args.project, args.jobs, args.dask)
