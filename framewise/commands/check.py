"""``framewise check``: whether database, trained versions and cached features are as they were written."""

import argparse
from collections.abc import Iterator

from framewise.commands.flags import Commands, add_folders, settings_of
from framewise.settings import Settings


def add_parser(commands: Commands) -> None:
    summary = "check database, trained versions and cached features for damage"
    parser = commands.add("check", summary, "framewise check", "docs/operations.md, Damage")
    add_folders(parser, "model_root", "cache_dir", "data_dir")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print all damage that is found; 1 if there is any. Raises SettingsError."""
    settings = settings_of(args)
    found = 0
    for what, problems in (("database", _of_database), ("trained versions", _of_versions), ("cached features", _of_cache)):
        told = list(problems(settings))
        for problem in told:
            print(problem)
        print(f"{what}: {len(told) or 'nothing'} damaged")
        found += len(told)
    return 1 if found else 0


def _of_database(settings: Settings) -> list[str]:
    from framewise.commands.service import service_database
    from framewise.core.errors import StorageDamaged

    try:
        return service_database(settings).problems()
    except StorageDamaged as error:
        return [str(error)]


def _of_versions(settings: Settings) -> Iterator[str]:
    """Versions whose files are not as they were written, and those that were set aside as damaged."""
    from framewise.core.errors import ModelError
    from framewise.store.registry import ABOUT, DAMAGED, check_version

    for about in sorted(settings.model_root.glob(f"timelinelabels-*/[!.]*/{ABOUT}")):
        try:
            check_version(about.parent)
        except (ModelError, OSError) as error:
            yield str(error)
    for folder in sorted(settings.model_root.glob(f"timelinelabels-*/{DAMAGED}*")):
        yield f"{folder}: set aside as damaged; remove it when you do not need it"


def _of_cache(settings: Settings) -> Iterator[str]:
    """Arrays that are not as they were written; they are made again when they are needed."""
    from framewise.features.cache import ARRAY, is_as_written

    for path in sorted((settings.cache_dir / "joblib").rglob(ARRAY)):
        try:
            whole = is_as_written(path)
        except (OSError, ValueError):  # being written or removed, or its record is no JSON
            continue
        if not whole:
            yield f"{path}: not as it was written; it is made again when it is needed"
