"""Memory of pass one beyond TensorFlow's own, and what a kill -9 half-way costs; each in a process of its own.

python benchmarks/memory.py IMAGE_DIR [--backbone NAME] [--copies 4]
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ALONE = """
import resource, sys
import numpy as np
from retrain.backbones.backbone import locate_backbone
from retrain.options import BackboneOptions
network = locate_backbone(BackboneOptions(backbone=sys.argv[1])).network
for _ in range(4):
    network.bottlenecks(np.zeros((32, network.height, network.width, 3), np.uint8))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""

EXTRACT = """
import resource, sys
from retrain.cli import main as cli
code = cli.main(["extract", sys.argv[2], "--backbone", sys.argv[1], "--cache-dir", sys.argv[3], "--json", "--quiet"])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
sys.exit(code)
"""


def run(script: str, *args: str) -> tuple[float, dict[str, int]]:
    """Peak memory in MiB, and what extract printed."""
    done = subprocess.run([sys.executable, "-c", script, *args], capture_output=True, text=True, check=True)
    lines = done.stdout.strip().splitlines()
    return float(lines[-1]), json.loads("".join(lines[:-1]) or "{}")


def more_pictures(source: Path, target: Path, copies: int) -> None:
    """The pictures of a folder several times, no two with the same content."""
    for path in sorted(source.rglob("*.*")):
        if path.is_file() and path.parent != source:
            folder = target / path.parent.name
            folder.mkdir(parents=True, exist_ok=True)
            for copy in range(copies):
                (folder / f"{copy}_{path.name}").write_bytes(path.read_bytes() + bytes([copy]))


def memory(image_dir: Path, backbone: str, copies: int, place: Path) -> None:
    alone, _ = run(ALONE, backbone)
    print(f"{'TensorFlow, the backbone, batches of 32 from memory':56} {alone:8,.0f} MiB")
    for count in (1, copies):
        root = place / f"pictures{count}"
        more_pictures(image_dir, root, count)
        peak, summary = run(EXTRACT, backbone, str(root), str(place / f"cache{count}"))
        name = f"extract, {summary['extracted']} pictures"
        print(f"{name:56} {peak:8,.0f} MiB, {peak - alone:+,.0f} (at most +1,536)")


def killed(image_dir: Path, backbone: str, place: Path) -> None:
    """Kill a run when half of the pictures must be done, and run it again."""
    cache = place / "killed"
    total = sum(1 for path in image_dir.rglob("*.jpg"))
    command = [sys.executable, "-m", "retrain", "extract", str(image_dir), "--backbone", backbone]
    command += ["--cache-dir", str(cache)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    done = 0
    for line in process.stderr:
        if " of " in line and "pictures/s" in line:
            done = int(line.split()[1])
        if done >= total / 2:
            break
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(1)
    _, summary = run(EXTRACT, backbone, str(image_dir), str(cache))
    both = done + summary["extracted"]
    text = f"killed at {done} of {total} pictures, run again: extracted in both"
    print(f"{text:56} {both:8} (at most {total} + one segment in the making)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image_dir", type=Path)
    parser.add_argument("--backbone", default="inception_v3")
    parser.add_argument("--copies", type=int, default=4, help="the larger run has so many times the pictures")
    args = parser.parse_args()
    print(f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores; {args.backbone}")
    with tempfile.TemporaryDirectory(prefix="retrain-benchmark-") as name:
        killed(args.image_dir, args.backbone, Path(name))
        memory(args.image_dir, args.backbone, args.copies, Path(name))


if __name__ == "__main__":
    main()
