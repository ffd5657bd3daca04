"""``framewise sync labels``: labels of one recording, carried to all others."""

import argparse
from pathlib import Path

from framewise.commands.flags import DEFAULT, Commands
from framewise.sync.labels import ANNOTATIONS, PREDICTIONS


def add_parser(commands: Commands) -> None:
    summary = "carry labels of one recording to the others"
    example = "framewise sync labels sync.json EXPORT.json --config c.xml --output tasks.json"
    parser = commands.add("labels", summary, example, "docs/sync-apply.md, Carry labels to the other cameras")
    parser.add_argument("manifest", type=Path, metavar="sync.json", help="file written by `framewise sync estimate` or `apply`")
    parser.add_argument("tasks", type=Path, metavar="EXPORT.json", help="Label Studio's Export > JSON")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE.xml", help="the labeling config")
    parser.add_argument("--from", dest="source", metavar="NAME", help="the annotated recording (default: the reference)")
    parser.add_argument(
        "--as",
        dest="kind",
        choices=(ANNOTATIONS, PREDICTIONS),
        default=ANNOTATIONS,
        help=f"what carried regions become {DEFAULT}",
    )
    parser.add_argument("--media-folder", type=Path, metavar="FOLDER", help="folder of the tasks' series files")
    parser.add_argument("--output", type=Path, metavar="FILE", help="file for the tasks with the carried labels, for import")
    parser.add_argument(
        "--push", action="store_true", help="send predictions to the tasks; needs LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write or push the carried labels. Returns 1 if a region was lost. Raises FramewiseError."""
    from framewise.commands.label_carrying import carry_by

    return carry_by(args)
