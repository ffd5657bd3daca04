"""What the command does beside a running service, over the same database and folders: versions, forgetting a project, and the
cache of features."""

import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from framewise.core.errors import RequestError, SettingsError
from framewise.core.sizes import format_size, parse_size
from framewise.core.tables import table_lines
from framewise.settings import Settings
from framewise.store.database import DATABASE_NAME, Database
from framewise.store.projects import KnownProjects
from framewise.store.registry import Registry, forget_project

if TYPE_CHECKING:
    from framewise.features.housekeeping import CachedVideo, Housekeeper, Leftover

CACHE_HEADINGS = ("BACKBONE", "PREPROCESSING", "VIDEOS", "SIZE", "IN USE", "OLDEST USE (UTC)", "NEWEST USE (UTC)")
HEADINGS = ("PROJECT", "CONTROL", "VERSION", "TRAINED AT (UTC)", "VIDEOS", "F1", "F1@50", "")


def show_versions(settings: Settings, project: str | None) -> None:
    """Print the trained versions, of one project or of all. Raises NotKnown, SettingsError."""
    database = _database(settings)
    key = KnownProjects(database).find(project) if project else None
    versions = Registry(settings.model_root, database).versions(key)
    by_control = sorted(versions, key=lambda v: (_number(v["project"]), v["project"], v["control"]))  # newest first in each
    if not versions:
        print("nothing is trained yet")
        return
    _print_table([HEADINGS, *(_row(v) for v in by_control)])
    if any(_mean(v) for v in versions):
        print("\nF1 and F1@50: the mean over the labels, on videos that were held out of the training.")
    if any(_is_weak(v) for v in versions):
        print("~: measured on few videos; another one may change it much.")
    for _, group in groupby(by_control, key=lambda v: (v["project"], v["control"])):
        for line in _offer(list(group)):
            print(line)


def roll_back(settings: Settings, project: str, version: str) -> None:
    """Make an earlier version the one in use. Raises NotKnown, RequestError, ConfigError."""
    _print_in_use(_backend(settings).roll_back(project, version))


def unpin(settings: Settings, project: str) -> None:
    """Make the newest version the one in use again. Raises NotKnown."""
    _print_in_use(_backend(settings).unpin(project))


def forget(settings: Settings, project: str, yes: bool) -> int:
    """Remove all that is known of a project; 1 if the answer to the question was no. Raises NotKnown, RequestError."""
    database = _database(settings)
    known, registry = KnownProjects(database), Registry(settings.model_root, database)
    key = project if known.rows(project) else known.find(project)
    rows, folders = known.rows(key), registry.model_folders(key)
    print(f"project {key}, {known.titles().get(key, '')!r}:")
    _print_table([("", str(number), table.replace("_", " ")) for table, number in sorted(rows.items())])
    _print_table([("", str(folder)) for folder in folders])
    if not (yes or _agreed()):
        print("nothing was removed")
        return 1
    forget_project(known, registry, key)
    print("all of this was removed")
    print("Features of its videos stay in CACHE_DIR: they belong to the files' contents, which other projects may have too.")
    print("If Label Studio still has the project, remove its model and its webhook there: the next event makes it known again.")
    return 0


def cache(settings: Settings, clean: bool = False, shrink: str | None = None, clear: bool = False, yes: bool = False) -> int:
    """Show the cache of features, or remove from it what is not in use: leftovers, down to a size, or all. 1 if the answer to
    the question was no. Raises RequestError, SettingsError."""
    # Imported here: nobody who lists versions should have to wait for what reads videos.
    from framewise.features.cache import FeatureCache
    from framewise.features.extraction import current_preprocessings
    from framewise.features.housekeeping import Housekeeper

    _database(settings)
    max_bytes = _size(shrink) if shrink is not None else 0
    names = _backbone_names(settings)
    housekeeper = Housekeeper(FeatureCache(settings.cache_dir))
    if clean:
        leftovers = housekeeper.leftovers(names, current_preprocessings())
        _print_leftovers(leftovers)
        print(f"removed: {format_size(housekeeper.remove(leftovers))}")
    elif shrink is not None or clear:
        _print_cache(settings, housekeeper, names)
        if clear and not (yes or _agreed()):
            print("nothing was removed")
            return 1
        done = housekeeper.shrink(max_bytes)
        print(f"removed: {done.videos} videos, {format_size(done.freed)}; {format_size(done.left)} stay")
    else:
        _print_cache(settings, housekeeper, names)
        if leftovers := housekeeper.leftovers(names, current_preprocessings()):
            _print_leftovers(leftovers)
            print("Nobody will ask for these any more; framewise cache --clean removes them.")
    return 0


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise RequestError(f"--shrink: {error}, found {text!r}") from None


def _backbone_names(settings: Settings) -> dict[str, str]:
    """Name of each backbone that there is, by the content of its weights; and of what has a backbone's place for series."""
    from framewise.features.backbone import SHIPPED_NAME, Backbones
    from framewise.features.cache import SERIES

    backbones = Backbones(settings.model_root, settings.data_dir)
    found = [SHIPPED_NAME, *(path.name for path in settings.model_root.glob("[!.]*.pt"))]
    return {SERIES: SERIES, **{backbones.find(name).content: name for name in found}}


def _print_cache(settings: Settings, housekeeper: "Housekeeper", names: Mapping[str, str]) -> None:
    stock = housekeeper.stock()
    most = f"of at most {format_size(settings.cache_max_bytes)}" if settings.cache_max_bytes else "without a limit"
    free = format_size(shutil.disk_usage(settings.cache_dir).free)
    print(f"{settings.cache_dir}: features of {len(stock.videos)} videos, {format_size(stock.size)} {most}; {free} are free\n")
    if not stock.videos:
        return
    groups: dict[tuple[str, str], list[CachedVideo]] = defaultdict(list)
    for video in stock.videos:
        groups[video.key[1:]].append(video)
    rows: list[tuple[str, ...]] = [CACHE_HEADINGS]
    for (backbone, preprocessing), videos in sorted(groups.items(), key=lambda group: -len(group[1])):
        in_use = sum(housekeeper.is_in_use(video.key) for video in videos)
        size, uses = format_size(sum(video.size for video in videos)), [_utc(videos[n].last_use) for n in (0, -1)]
        name = names.get(backbone, f"gone ({backbone[:8]})")
        rows.append((name, preprocessing, str(len(videos)), size, str(in_use), *uses))
    _print_table(rows)
    print()


def _print_leftovers(leftovers: Sequence["Leftover"]) -> None:
    by_kind: dict[str, list[int]] = defaultdict(list)
    for leftover in leftovers:
        by_kind[leftover.kind].append(leftover.size)
    _print_table([("LEFTOVERS", "", ""), *((kind, str(len(of)), format_size(sum(of))) for kind, of in by_kind.items())])


def _utc(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(moment))


def _agreed() -> bool:
    if not sys.stdin.isatty():
        raise RequestError("this is removed for good, and nobody is there to be asked; add --yes")
    try:
        return input('This is removed for good. Type "yes" to go on: ').strip() == "yes"
    except EOFError:
        return False


def _database(settings: Settings) -> Database:
    path = settings.data_dir / DATABASE_NAME
    if not path.exists():
        raise SettingsError(f"DATA_DIR: {settings.data_dir} holds no {DATABASE_NAME}; give the settings of the service")
    return Database(path)


def _backend(settings: Settings) -> Any:
    """The use cases. Imported here: to list versions nobody should have to wait for torch."""
    _database(settings)
    from framewise.assembly import Assembly

    return Assembly(settings).backend


def _print_in_use(told: dict[str, Any]) -> None:
    for use in told["controls"]:
        print(f"project {told['project']}, {use['control']}: {use['version']} is in use{', pinned' * use['pinned']}")
    if not told["controls"]:
        print(f"project {told['project']}: nothing is trained yet")
    if any(use["pinned"] for use in told["controls"]):
        print('What is trained after a submit is kept, but not used, until somebody presses "Start training" in Label Studio')
        print(f"or runs: framewise unpin {told['project']}")


def _row(version: dict[str, Any]) -> tuple[str, ...]:
    mean = _mean(version)
    use = ", ".join(["in use"] * bool(version["current"]) + ["pinned"] * bool(version["pinned"]))
    trained_at = str(version.get("trained_at") or "").replace("T", " ").removesuffix("Z")
    scores = ["~" * _is_weak(version) + f"{mean[name]:.2f}" if name in mean else "" for name in ("f1", "f1@50")]
    videos = str(version.get("videos", ""))
    return (version["project"], version["control"], version["version"], trained_at, videos, *scores, use)


def _offer(versions: Sequence[dict[str, Any]]) -> Iterator[str]:
    """What to say of a control's versions, newest first, if the one in use is worse than the one before it."""
    if len(versions) < 2 or not versions[0]["current"]:
        return
    newest, before = versions[:2]
    now, then = _mean(newest), _mean(before)
    fallen = [name for name in ("f1", "f1@50") if name in now and name in then and round(then[name] - now[name], 2) > 0]
    if not fallen:
        return
    scores = " and ".join(f"{name.upper()} {now[name]:.2f}, which was {then[name]:.2f}" for name in fallen)
    yield f"\nproject {newest['project']}, {newest['control']}: {newest['version']} has {scores} in {before['version']}."
    methods = [(v.get("quality") or {}).get("method") for v in (newest, before)]
    if methods[0] != methods[1]:
        yield f"The two were not measured in the same way: {methods[0]}, and {methods[1]} before."
    yield f"To go back: framewise roll-back {newest['project']} {before['version']}"


def _mean(version: dict[str, Any]) -> dict[str, float]:
    """The scores of a version on what was held out, as far as it has any."""
    quality = version.get("quality")
    mean = quality.get("mean") if isinstance(quality, dict) else None
    return {k: float(v) for k, v in mean.items() if isinstance(v, int | float)} if isinstance(mean, dict) else {}


def _is_weak(version: dict[str, Any]) -> bool:
    return bool(_mean(version)) and bool(version["quality"].get("weak"))


def _number(key: str) -> int:
    head = key.split(".")[0]
    return int(head) if head.isdecimal() else 0


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    for line in table_lines(rows):
        print(line)
