"""``framewise cache``: contents of the feature cache, and their removal."""

import argparse
import json
import shutil
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from framewise.commands.flags import Commands, add_folders, settings_of
from framewise.commands.service import agreed, print_table, service_database
from framewise.core.errors import RequestError
from framewise.core.sizes import format_size, parse_size
from framewise.settings import Settings

if TYPE_CHECKING:
    from framewise.features.housekeeping import Housekeeper, Leftover

HEADINGS = ("BACKBONE", "PREPROCESSING", "VIDEOS", "SIZE", "IN USE", "OLDEST USE (UTC)", "NEWEST USE (UTC)")


def add_parser(commands: Commands) -> None:
    summary = "show the feature cache, or remove parts of it"
    parser = commands.add("cache", summary, "framewise cache --shrink 10GB", "docs/operations.md, The cache of features")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--clean", action="store_true", help="remove leftovers, which are no longer needed")
    what.add_argument("--shrink", metavar="SIZE", help="remove least recently used features down to this size, e.g. 10GB")
    what.add_argument("--clear", action="store_true", help="remove everything that is not in use")
    what.add_argument("--json", action="store_true", help="print the contents as JSON; sizes in bytes")
    parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    add_folders(parser, "model_root", "cache_dir", "data_dir")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Show the cache, or remove what is not in use: leftovers, down to a size, or all. Returns 1 if the user declines.

    Raises RequestError, SettingsError.
    """
    from framewise.features.cache import FeatureCache
    from framewise.features.extraction import current_preprocessings
    from framewise.features.housekeeping import Housekeeper

    settings = settings_of(args)
    service_database(settings)
    max_bytes = _size(args.shrink) if args.shrink is not None else 0
    names = _backbone_names(settings)
    housekeeper = Housekeeper(FeatureCache(settings.cache_dir))
    if args.shrink is not None or args.clear:
        _print(_stock(settings, housekeeper, names))
        if args.clear and not (args.yes or agreed()):
            print("nothing was removed")
            return 1
        done = housekeeper.shrink(max_bytes)
        print(
            f"removed: {done.videos} video{'s' * (done.videos != 1)}, {format_size(done.freed)}; {format_size(done.left)} left"
        )
        return 0
    leftovers = housekeeper.leftovers(names, current_preprocessings())
    if args.clean:
        _print_leftovers(leftovers)
        print(f"removed: {format_size(housekeeper.remove(leftovers))}")
    elif args.json:
        print(json.dumps({**_stock(settings, housekeeper, names), "leftovers": _by_kind(leftovers)}, indent=2))
    else:
        _print(_stock(settings, housekeeper, names))
        if leftovers:
            _print_leftovers(leftovers)
            print("These are no longer needed; framewise cache --clean removes them.")
    return 0


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise RequestError(f"--shrink: {error}, found {text!r}") from None


def _backbone_names(settings: Settings) -> dict[str, str]:
    """Content of weights -> name, for each backbone present and for features without a backbone."""
    from framewise.features.backbone import Backbones
    from framewise.features.cache import NO_BACKBONES

    backbones = Backbones(settings.model_root, settings.data_dir)
    return {**{name: name for name in NO_BACKBONES}, **{backbones.find(name).content: name for name in backbones.at_hand()}}


def _stock(settings: Settings, housekeeper: "Housekeeper", names: Mapping[str, str]) -> dict[str, Any]:
    """Contents of the cache by backbone and preprocessing, most videos first. Sizes in bytes, times in UTC."""
    stock = housekeeper.stock()
    groups = defaultdict(list)
    for video in stock.videos:  # least recently used first
        groups[video.key[1:]].append(video)
    features = [
        {
            "backbone": names.get(backbone, f"gone ({backbone[:8]})"),
            "preprocessing": preprocessing,
            "videos": len(videos),
            "size": sum(video.size for video in videos),
            "in_use": sum(housekeeper.is_in_use(video.key) for video in videos),
            "oldest_use": _utc(videos[0].last_use),
            "newest_use": _utc(videos[-1].last_use),
        }
        for (backbone, preprocessing), videos in sorted(groups.items(), key=lambda group: -len(group[1]))
    ]
    return {
        "folder": str(settings.cache_dir),
        "videos": len(stock.videos),
        "size": stock.size,
        "max_size": settings.cache_max_bytes or None,
        "free": shutil.disk_usage(settings.cache_dir).free,
        "features": features,
    }


def _print(stock: Mapping[str, Any]) -> None:
    most = f"of at most {format_size(stock['max_size'])}" if stock["max_size"] else "without a limit"
    free = format_size(stock["free"])
    videos = f"{stock['videos']} video{'s' * (stock['videos'] != 1)}"
    print(f"{stock['folder']}: features of {videos}, {format_size(stock['size'])} {most}; {free} are free\n")
    if not stock["features"]:
        return
    rows: list[tuple[str, ...]] = [HEADINGS]
    for part in stock["features"]:
        uses = [part[name].replace("T", " ").removesuffix("Z") for name in ("oldest_use", "newest_use")]
        size, in_use = format_size(part["size"]), str(part["in_use"])
        rows.append((part["backbone"], part["preprocessing"], str(part["videos"]), size, in_use, *uses))
    print_table(rows)
    print()


def _by_kind(leftovers: Sequence["Leftover"]) -> list[dict[str, Any]]:
    sizes: dict[str, list[int]] = defaultdict(list)
    for leftover in leftovers:
        sizes[leftover.kind].append(leftover.size)
    return [{"kind": kind, "number": len(of), "size": sum(of)} for kind, of in sizes.items()]


def _print_leftovers(leftovers: Sequence["Leftover"]) -> None:
    rows = [(of["kind"], str(of["number"]), format_size(of["size"])) for of in _by_kind(leftovers)]
    print_table([("LEFTOVERS", "", ""), *rows])


def _utc(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
