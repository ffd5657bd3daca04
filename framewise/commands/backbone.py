"""``framewise backbone``: download of an official backbone."""

import argparse

from framewise.commands.flags import Commands, add_folders, settings_of


def add_parser(commands: Commands) -> None:
    summary = "download an official backbone to the models folder"
    parser = commands.add("backbone", summary, "framewise backbone yolov8s-cls.pt", "docs/backbones.md")
    parser.add_argument("name", nargs="?", metavar="NAME", help="such as yolov8n-cls.pt (default: MODEL_PATH)")
    add_folders(parser, "model_root", "data_dir")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    from framewise.features.backbone import Backbones

    settings = settings_of(args)
    file = Backbones(settings.model_root, settings.data_dir).fetch_official(args.name or settings.model_path)
    print(f"{file.path}  sha256 {file.content}")
