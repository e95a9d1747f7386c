"""What `retrain extract` shows."""

from retrain.cli.console.tables import ALL_IN_JSON
from retrain.paths import display_path
from retrain.pipeline.benchmark import MachineBenchmark
from retrain.pipeline.extract import FolderExtraction
from retrain.text import MOST_NAMED, counted

__all__ = ["describe_benchmark", "describe_extraction"]


def describe_extraction(done: FolderExtraction) -> str:
    """What `retrain extract` shows."""
    extraction, cache = done.extraction, display_path(done.cache.folder)
    lines = [f"skipped {display_path(path)}: {reason}" for path, reason in extraction.skipped.items()]
    if len(lines) > MOST_NAMED + 1:
        lines[MOST_NAMED:] = [f"... and {len(lines) - MOST_NAMED:,} more ({ALL_IN_JSON})"]
    if extraction.left_out.count:
        lines.append(f"Skipped {extraction.left_out.told()}")
    rate = extraction.pictures_per_second
    part = "" if done.shard is None else f"Part {done.shard}: "
    speed = "" if rate is None else f" at {rate:.1f} pictures/s"
    lines.append(
        f"{part}{counted(len(extraction.readable), 'file')}: {extraction.cached:,} cached, {extraction.extracted:,} "
        f"extracted{speed}, {len(extraction.skipped):,} skipped; cache: {cache}"
    )
    if done.output is not None:
        length = done.cache.bottleneck_size
        lines.append(f"Wrote {counted(done.written, 'vector')} of length {length} to {display_path(done.output)}")
    return "\n".join(lines)


def describe_benchmark(measured: MachineBenchmark) -> str:
    """What `retrain extract --benchmark` shows."""
    lines = [
        f"{measured.processor}, {counted(measured.cores, 'core')}; {measured.backbone}; pictures/s:",
        f"  reading, hashing, decoding, resizing alone   {measured.decoding:8.1f}",
        f"  {'precision':12} {'backbone alone':>16} {'all of pass one':>16} {'prepared in':>14}",
    ]
    for rates in measured.precisions:
        if rates.backbone is None or rates.pipeline is None:
            lines.append(f"  {rates.precision:12} not available: {rates.reason}")
        else:
            lines.append(
                f"  {rates.precision:12} {rates.backbone:16.1f} {rates.pipeline:16.1f} "
                f"{rates.preparation_seconds:12.1f} s" + (f"   {rates.warning}" if rates.warning else "")
            )
    return "\n".join([*lines, f"Recommendation: {measured.recommendation}"])
