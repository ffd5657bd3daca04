"""Carrying of labels for `framewise sync labels`: slow to import, so it is imported by the command that runs it."""

import argparse
import os

from framewise.commands.flags import check_there, check_writable
from framewise.core.errors import RequestError, SettingsError
from framewise.core.files import read_text
from framewise.core.storage import write_readable_json
from framewise.core.tables import table_lines
from framewise.core.task_files import read_tasks
from framewise.label_studio import HOW_TO_CONNECT, LabelStudioClient
from framewise.settings import Settings
from framewise.sync.labels import PREDICTIONS
from framewise.sync.labels.carrying import CarryResult, carry_labels
from framewise.sync.manifest import read

SHOWN_LOST = 10  # per recording; a wrong offset loses all regions


def carry_by(args: argparse.Namespace) -> int:
    """Write or push the carried labels, and print a summary. Returns 1 if a region was lost. Raises FramewiseError."""
    if not args.output and not args.push:
        raise SettingsError("give --output FILE, or --push to send predictions to Label Studio")
    check_there(args.manifest, args.tasks, args.config)
    check_writable(args.output)
    client = _client() if args.push else None
    kind = PREDICTIONS if args.push else args.kind
    done = carry_labels(
        read(args.manifest), read_text(args.config), read_tasks(args.tasks, plain=True), args.source, kind, args.media_folder
    )
    if args.output:
        write_readable_json(args.output, done.tasks)
    if client:
        push(client, done)
    _print(done)
    return 1 if any(outcome.lost for outcome in done.outcomes) else 0


def _client() -> LabelStudioClient:
    settings = Settings.from_env(os.environ)
    client = LabelStudioClient(settings.label_studio_url, settings.label_studio_api_key)
    if not client.connected:
        raise SettingsError(f"--push: {HOW_TO_CONNECT}")
    return client


def push(client: LabelStudioClient, done: CarryResult) -> None:
    """Send the predictions of each task to Label Studio, each only once. Raises LabelStudioError."""
    for task in done.tasks:
        for prediction in task.get("predictions") or []:
            if isinstance(prediction, dict) and prediction.get("model_version") == done.model_version:
                if not isinstance(task.get("id"), int):
                    raise RequestError("--push: expected a number 'id' in every task; give Label Studio's Export > JSON")
                client.push_prediction(task["id"], prediction["result"], prediction["score"], done.model_version)


def _print(done: CarryResult) -> None:
    rows = [("RECORDING", "CARRIED", "CUT", "NOT CARRIED")]
    rows += [(o.recording, str(o.carried), str(o.cut), str(len(o.lost))) for o in done.outcomes]
    for line in table_lines(rows):
        print(line)
    for outcome in done.outcomes:
        lines = [
            *outcome.lost[:SHOWN_LOST],
            *([f"and {len(outcome.lost) - SHOWN_LOST} more"] * (len(outcome.lost) > SHOWN_LOST)),
        ]
        for line in table_lines([(f"{outcome.recording}:", text) for text in lines]) if lines else ():
            print(line)
