"""``framewise forget``: removal of all data and models of a project."""

import argparse

from framewise.commands.flags import PROJECT_HELP, Commands, add_folders, settings_of
from framewise.commands.service import agreed, print_table, service_database
from framewise.store.projects import KnownProjects
from framewise.store.registry import Registry, forget_project


def add_parser(commands: Commands) -> None:
    summary = "remove all data and models of a project"
    parser = commands.add("forget", summary, "framewise forget 12", "docs/operations.md, Forget a project")
    parser.add_argument("project", metavar="PROJECT", help=PROJECT_HELP)
    parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    add_folders(parser, "model_root", "data_dir")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Remove a project; returns 1 if the user declines. Raises NotKnown, RequestError."""
    settings = settings_of(args)
    database = service_database(settings)
    known, registry = KnownProjects(database), Registry(settings.model_root, database)
    key = args.project if known.rows(args.project) else known.find(args.project)
    rows, folders = known.rows(key), registry.model_folders(key)
    print(f"project {key}, {known.titles().get(key, '')!r}:")
    print_table([("", str(number), table.replace("_", " ")) for table, number in sorted(rows.items())])
    print_table([("", str(folder)) for folder in folders])
    if not (args.yes or agreed()):
        print("nothing was removed")
        return 1
    forget_project(known, registry, key)
    print("all of this was removed")
    print("Features of its videos stay in CACHE_DIR: other projects may have files with the same content.")
    print("If Label Studio still has the project, remove its model and its webhook there: the next event would add it again.")
    return 0
