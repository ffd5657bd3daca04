"""``framewise jobs``: list of jobs."""

import argparse
import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from framewise.commands.flags import DEFAULT, PROJECT_HELP, Commands, add_folders, settings_of
from framewise.commands.service import print_table, service_database
from framewise.store.job_state import JobStates, state_title_of
from framewise.store.projects import KnownProjects

HEADINGS = ("JOB", "WORK", "PROJECT", "TASK", "STATE", "SINCE (UTC)", "")
MAX_NOTE_CHARS = 100
LIMIT = 20


def add_parser(commands: Commands) -> None:
    summary = "list jobs: running, waiting, done and failed"
    parser = commands.add("jobs", summary, "framewise jobs 12", "docs/operations.md, Monitoring")
    parser.add_argument("project", nargs="?", metavar="PROJECT", help=f"{PROJECT_HELP} (default: all)")
    limit = f"number of jobs to list: unfinished ones first, then the newest {DEFAULT}"
    parser.add_argument("--limit", type=int, default=LIMIT, metavar="N", help=limit)
    parser.add_argument("--json", action="store_true", help="print the answer of GET /jobs")
    add_folders(parser, "data_dir")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the jobs of one project or of all. Raises NotKnown, SettingsError."""
    database = service_database(settings_of(args))
    key = KnownProjects(database).find(args.project) if args.project else None
    overview = JobStates(database).overview(max(0, args.limit), key)
    if args.json:
        print(json.dumps(overview, indent=2, ensure_ascii=False))
        return
    if overview["jobs"]:
        print_table([HEADINGS, *(_row(job) for job in overview["jobs"])])
        print()
    counts = [f"{overview[state]} {state_title_of(state)}" for state in ("running", "pending", "scheduled")]
    print(", ".join(counts))
    for line in _troubles(overview["jobs"]):
        print(line)


def _row(job: Mapping[str, Any]) -> tuple[str, ...]:
    percent = f" {100 * job['progress']:.0f} %" * (job["state"] == "running")
    since = str(job["finished"] or job["started"] or job["created"]).replace("T", " ").removesuffix("Z")
    note = textwrap.shorten(job["detail"] or "", MAX_NOTE_CHARS, placeholder=" ...")
    task = "" if job["task"] is None else str(job["task"])
    return str(job["id"]), job["title"], job["project"], task, state_title_of(job["state"]) + percent, since, note


def _troubles(jobs: list[Mapping[str, Any]]) -> Iterator[str]:
    """Yield errors and warnings of these jobs in full."""
    for job in jobs:
        told = [f"error: {job['error']}"] if job["error"] else []
        told += [f"warning: {text}" for text in job["warnings"]]
        yield from (f"job {job['id']}, {text}" for text in told)
