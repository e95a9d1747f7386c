"""`retrain cache ...`: check, clean up or fill the bottleneck cache."""

import argparse
import dataclasses
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from retrain.cli.arguments import Commands, Parser, add_command, add_image_root, add_output_options
from retrain.cli.output import print_json
from retrain.options import Manifest
from retrain.text import counted, listed_lines, listing

__all__ = ["add_cache_commands"]

_MIB = 2**20


def add_cache_commands(commands: Commands) -> None:
    """Add `cache` and its commands."""
    cache = add_command(commands, "cache", None, "check, clean up or fill the bottleneck cache")
    actions = cache.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add(actions, "info", _info, "list the extractors in the cache, with their rows, size, segments and age")
    verify = _add(actions, "verify", _verify, "check each row against its CRC-32; the exit code is 1 if any is damaged")
    verify.add_argument(
        "--recover",
        action="store_true",
        help="first take back *.corrupt segments that are sound, and rewrite notes that disagree with their segments",
    )
    prune = _add(actions, "prune", _prune, "delete rows that no picture needs, after saying how many there are")
    prune.add_argument(
        "--keep",
        action="append",
        required=True,
        metavar="IMAGE_DIR|FILE",
        help="keep the rows of the pictures in this folder or manifest; may be given several times",
    )
    add_image_root(prune)
    prune.add_argument("--yes", action="store_true", help="delete without asking")
    _add(actions, "compact", _compact, "merge small segments into large ones")
    import_ = _add(actions, "import", _import, "import bottleneck text files of the original program")
    import_.add_argument(
        "text_dir", metavar="DIR", help="the original's --bottleneck_dir, with files such as NAME.jpg_MODULE.txt"
    )
    import_.add_argument(
        "--image-dir",
        required=True,
        metavar="IMAGE_DIR",
        help="the original's --image_dir, with the pictures that these files belong to",
    )


def _add(actions: Commands, name: str, run: Callable[[argparse.Namespace], int], text: str) -> Parser:
    added = add_command(actions, name, run, text)
    added.add_argument(
        "--cache-dir", default="cache", metavar="DIR", help="folder of the bottleneck cache (default: cache)"
    )
    add_output_options(added)
    return added


def _info(args: argparse.Namespace) -> int:
    from retrain.cache import maintenance as cache_maintenance
    from retrain.paths import display_path

    found = [cache_maintenance.info(cache) for cache in cache_maintenance.extractors(args.cache_dir)]
    if args.json:
        print_json([extractor.as_dict() for extractor in found])
        return 0
    for extractor in found:
        numbers = counted(extractor.bottleneck_size or 0, "number")
        text = (
            f"{extractor.folder}: {counted(extractor.rows, 'row')} of {numbers} in "
            f"{counted(extractor.segments, 'segment')}, {extractor.bytes / _MIB:.1f} MiB"
        )
        if extractor.newest is not None:
            text += f", the oldest written {_ago(extractor.oldest)} ago, the newest {_ago(extractor.newest)}"
        if extractor.set_aside:
            text += f", {counted(extractor.set_aside, 'damaged segment')} set aside"
        print(text)
        for line in listed_lines(extractor.warnings, "all of them with --json"):
            print(line)
    if not found:
        print(f"nothing is cached in {display_path(args.cache_dir)}")
    return 0


def _verify(args: argparse.Namespace) -> int:
    from retrain.cache import maintenance as cache_maintenance

    recovered = cache_maintenance.recover(args.cache_dir) if args.recover else {}
    reports = [cache_maintenance.verify(cache) for cache in cache_maintenance.extractors(args.cache_dir)]
    damaged = any(report.damage or report.sound < report.rows for report in reports)
    if args.json:
        print_json([dataclasses.asdict(report) | {"recovered": recovered.get(report.folder, [])} for report in reports])
        return int(damaged)
    for report in reports:
        print(f"{report.folder}: {report.sound:,} of {counted(report.rows, 'row', 'is/are')} sound")
        for line in listed_lines([*recovered.get(report.folder, []), *report.damage], "all of them with --json"):
            print(line)
        if report.set_aside:
            more = "" if args.recover else "; --recover takes back those that are sound"
            print(f"  {counted(report.set_aside, 'damaged segment')} set aside earlier{more}")
    return int(damaged)


def _prune(args: argparse.Namespace) -> int:
    from retrain.cache import maintenance as cache_maintenance
    from retrain.cli.progress import Progress
    from retrain.data import read_source

    caches = cache_maintenance.extractors(args.cache_dir)
    progress = Progress(args.quiet)
    sources = [Manifest(path, args.image_root) if os.path.isfile(path) else path for path in args.keep]
    folders = [read_source(source, emit=progress.show) for source in sources]
    keys = cache_maintenance.needed_keys(args.cache_dir, folders, progress.show)
    progress.close()
    reports = [cache_maintenance.prune(cache, keys, dry_run=True) for cache in caches]
    unneeded = sum(report.unneeded for report in reports)
    if not args.json:
        for report in reports:
            rows, size = counted(report.rows, "row", "is/are"), report.bytes / _MIB
            print(f"{report.folder}: {report.unneeded:,} of {rows} not needed ({size:.1f} MiB)", flush=True)
    do_it = bool(unneeded) and (args.yes or _agreed(unneeded))
    if do_it:
        for cache in caches:
            cache_maintenance.prune(cache, keys, dry_run=False)
    if args.json:
        print_json([dataclasses.asdict(report) | {"dropped": do_it} for report in reports])
    elif do_it:
        print(f"{counted(unneeded, 'row')} dropped")
    elif unneeded:
        print("nothing dropped: give --yes to drop them")
    return 0


def _agreed(rows: int) -> bool:
    """Ask the user. Without a terminal, the answer is no."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print(f"drop {counted(rows, 'row')}? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _compact(args: argparse.Namespace) -> int:
    from retrain.cache import maintenance as cache_maintenance
    from retrain.paths import display_path

    results: list[dict[str, Any]] = []
    for cache in cache_maintenance.extractors(args.cache_dir):
        before = len(cache.segment_paths())
        cache.compact()
        results.append(
            {"folder": display_path(cache.folder), "rows": len(cache), "segments_before": before}
            | {"segments": len(cache.segment_paths())}
        )
        if not args.json:  # at once, because the next one may fail
            was = counted(before, "segment")
            rows = counted(len(cache), "row")
            print(f"{results[-1]['folder']}: {rows}, {was} became {results[-1]['segments']:,}", flush=True)
    if args.json:
        print_json(results)
    return 0


def _import(args: argparse.Namespace) -> int:
    from retrain.cache import maintenance as cache_maintenance

    report = cache_maintenance.import_text_files(args.text_dir, args.image_dir, args.cache_dir)
    if args.json:
        print_json(dataclasses.asdict(report))
        return 0
    left_out = [f"{name}: {reason}" for name, reason in report.skipped.items()]
    if left_out:
        print(f"{counted(len(left_out), 'file')} left out:")
    for line in listed_lines(left_out, "all of them with --json"):
        print(line)
    print(
        f"{counted(report.imported, 'bottleneck')} imported, {report.already_cached:,} already there, "
        f"{counted(len(report.skipped), 'file')} left out; cache: {listing(report.folders) or 'unchanged'}"
    )
    return 0


def _ago(moment: float | None) -> str:
    """The time since a moment, in the largest unit that fits."""
    seconds = max(0.0, time.time() - (moment or 0.0))
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return counted(round(seconds), "second")
