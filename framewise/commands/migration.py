"""Conversion of a project that played a video beside a time series by a script to current Label Studio.

It reads a labeling config and an export, reports the result for every task, and writes it with --write. Nothing is
fetched, and no HTML of a task is rendered or run.
"""

import argparse
import os
from collections import Counter
from pathlib import Path

from framewise.core.errors import SettingsError
from framewise.core.files import read_text
from framewise.core.storage import folder_written_atomically, write_readable_json
from framewise.core.tables import table_lines
from framewise.core.task_files import read_tasks
from framewise.migrate.config import LabelingConfig
from framewise.migrate.files import read_durations
from framewise.migrate.plan import (
    CONVERTED,
    NEEDS_REVIEW,
    RESCALED,
    UNCHANGED,
    MigrationOptions,
    MigrationPlan,
    plan,
)

CONFIG, TASKS, REVIEW, SERIES = "config.xml", "tasks.json", "needs-review.json", "series"


def migrate(args: argparse.Namespace) -> int:
    """Print the conversion of a project, and write it with --write. Returns 1 if a task needs review.

    Raises ConfigError, RequestError, SettingsError. Nothing is written then.
    """
    output = _checked_output(args.output) if args.write else None
    if args.media_folder is not None and not args.media_folder.is_dir():
        raise SettingsError(f"--media-folder: {args.media_folder} is not a folder")
    given = read_durations(args.durations, read_text(args.durations)) if args.durations else {}
    series_address = args.series_address or MigrationOptions.series_address
    options = MigrationOptions(args.media_folder, given, args.frame_rate, series_address)
    done = plan(LabelingConfig(read_text(args.config)), read_tasks(args.tasks, plain=True), options)
    _print_report(done)
    if done.config is None:
        print("There is nothing to write.")
    elif output is None:
        print("Nothing was written: this was a dry run. Add --write --output FOLDER.")
    else:
        _write(done, output)
        _print_next_steps(done, output, options)
    return 1 if any(outcome.status == NEEDS_REVIEW for outcome in done.outcomes) else 0


def _checked_output(output: Path | None) -> Path:
    """Check the folder to write, which is never overwritten. Raises SettingsError, before anything is read."""
    if output is None:
        raise SettingsError("--write needs --output FOLDER, a new or an empty one")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise SettingsError(f"--output: {output} is not empty; give a new folder, nothing is overwritten")
    if not os.access(output.absolute().parent, os.W_OK):
        raise SettingsError(f"--output: {output.absolute().parent} is not writable")
    return output


def _write(done: MigrationPlan, output: Path) -> None:
    """Write everything, then rename the folder, so that it is always complete."""
    with folder_written_atomically(output.absolute()) as folder:
        (folder / CONFIG).write_text(str(done.config), encoding="utf-8")
        write_readable_json(folder / TASKS, [o.task for o in done.outcomes if o.status != NEEDS_REVIEW])
        if left := [o.task for o in done.outcomes if o.status == NEEDS_REVIEW]:
            write_readable_json(folder / REVIEW, left)
        for file in (outcome.file for outcome in done.outcomes if outcome.file):
            (folder / SERIES).mkdir(exist_ok=True)
            file.series.write(file.seconds, folder / SERIES / file.name)


def _print_report(done: MigrationPlan) -> None:
    rows = []
    for outcome in done.outcomes:
        first, *more = outcome.notes or ("",)
        rows += [(outcome.name, outcome.status, first), *(("", "", note) for note in more)]
    for line in table_lines([*rows, *(("config", "", change) for change in done.changes)]):
        print(line)
    counts = Counter(outcome.status for outcome in done.outcomes)
    total = ", ".join(f"{counts[s]} {s}" for s in (CONVERTED, RESCALED, UNCHANGED, NEEDS_REVIEW) if counts[s])
    number = len(done.outcomes)
    print(f"\n{number} task{'s' * (number != 1)}: {total}.")
    if counts[UNCHANGED] == len(done.outcomes):
        print("This project is migrated already.")


def _print_next_steps(done: MigrationPlan, output: Path, options: MigrationOptions) -> None:
    print(f"Written to {output}: {CONFIG}, for Settings > Labeling Interface > Code of a new project; {TASKS}, for its Import.")
    if any(outcome.file for outcome in done.outcomes):
        print(f"The tasks expect the files in {output / SERIES} at {options.series_address}: put them there before the import.")
    if any(outcome.status == NEEDS_REVIEW for outcome in done.outcomes):
        print(f"Tasks that need review are in {output / REVIEW}, unchanged.")
        print("To include them, correct them and migrate the whole export again.")
