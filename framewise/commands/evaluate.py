"""``framewise evaluate``: held-out scores of a training on an export."""

import argparse
from pathlib import Path

from framewise.commands.flags import CONFIG_HELP, Commands, add_folders, check_there, check_writable, working_settings
from framewise.core.errors import RequestError

PRINTED = "-"  # standard output instead of a file


def add_parser(commands: Commands) -> None:
    summary = "measure a training on an export by held-out videos"
    example = "framewise evaluate EXPORT.json --config config.xml --json scores.json"
    parser = commands.add("evaluate", summary, example, "docs/command-line.md, Without Label Studio")
    parser.add_argument("tasks", type=Path, metavar="EXPORT.json", help="Label Studio's Export > JSON")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE.xml", help=CONFIG_HELP)
    parser.add_argument(
        "--json",
        nargs="?",
        const=PRINTED,
        metavar="FILE",
        help="write the scores as JSON to this file, or print them instead of tables",
    )
    about = "compare backbones on these annotations: names as model_path, separated by commas"
    parser.add_argument("--backbones", type=_names, metavar="A,B", help=about)
    parser.add_argument("--picture", type=Path, metavar="FILE.png", help="draw how often regions are correct, by score")
    add_folders(parser, "model_root", "cache_dir", "data_dir", "local_files_roots")
    parser.set_defaults(run=run)


def _names(text: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if len(names) < 2:
        raise argparse.ArgumentTypeError(f"expected at least two names, separated by commas, found {text!r}")
    return names


def run(args: argparse.Namespace) -> int:
    file = Path(args.json) if args.json not in (None, PRINTED) else None
    check_there(args.tasks, args.config)
    check_writable(file, args.picture)
    if args.backbones and args.picture:
        raise RequestError("--picture is of one backbone; leave it or --backbones out")
    if args.backbones:
        from framewise.commands.choice import evaluate_backbones

        args.setting_model_path = args.backbones[0]  # the default backbone need not be there
        settings = working_settings(args, "WARNING")
        return evaluate_backbones(settings, args.tasks, args.config, args.backbones, file, args.json == PRINTED)
    from framewise.commands.offline import evaluate

    settings = working_settings(args, "WARNING")
    return evaluate(settings, args.tasks, args.config, file, args.picture, print_json=args.json == PRINTED)
