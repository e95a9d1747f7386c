"""`retrain serve` under load: speed beside the runtime's own, memory over many requests, and hostile requests.

    python benchmarks/serving.py load MODEL_DIR IMAGE_DIR [--rounds 5] [--seconds 8]
    python benchmarks/serving.py soak MODEL_DIR IMAGE_DIR [--requests 20000]
    python benchmarks/serving.py fuzz MODEL_DIR IMAGE_DIR [--requests 20000]      (IMAGE_DIR: pictures that are broken)

`load` starts a server and alternates, round by round, between the runtime alone (a process that decodes and scores the
same pictures in memory, a thread per core), and clients over 1, 8 and 64 connections, so that what else the machine
does falls on both. The clients are one process; it shares the machine with the server. `soak` prints the server's
resident memory as it goes on. `fuzz` sends broken pictures, random bytes, wrong JSON, base64 and forms, huge heads,
bodies that are cut short, and bombs; every answer must be 2xx, 4xx or 503, and the server must go on.
"""

import argparse
import asyncio
import base64
import contextlib
import json
import os
import random
import re
import signal
import statistics
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CONNECTIONS = (1, 8, 64)
MOST_PICTURES = 100


def pictures_in(folder: Path, most: int = MOST_PICTURES) -> list[bytes]:
    """The content of some files below a folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    random.Random(0).shuffle(paths)
    return [path.read_bytes() for path in paths[:most]]


@contextlib.contextmanager
def serving(model: Path, *options: str) -> Iterator[int]:
    """A server in a process of its own; gives its port."""
    command = [sys.executable, "-m", "retrain", "serve", f"m={model}", "--port", "0", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        start = time.perf_counter()
        found = re.search(r":(\d+)/", process.stderr.readline())  # type: ignore[union-attr]
        print(f"ready after {time.perf_counter() - start:.2f} s")
        said: list[str] = []
        threading.Thread(target=lambda: said.extend(process.stderr), daemon=True).start()  # type: ignore[arg-type]
        yield int(found[1])  # type: ignore[index]
        process.send_signal(signal.SIGTERM)
        print(f"ended with {process.wait(60)}; it said: {''.join(said)[:2000]}")
    finally:
        process.kill()


def request_of(body: bytes, path: str = "/predict", *more: str) -> bytes:
    """A request's bytes."""
    head = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *more, "", ""]
    return "\r\n".join(head).encode() + body


async def answer_from(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of an answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    return int(head[9:12]), await reader.readexactly(int(length[1])) if length else b""


async def clients(
    port: int, requests: list[bytes], connections: int, seconds: float, most: int
) -> list[tuple[float, int]]:
    """Ask over some connections, one request after another on each; the seconds and status of each."""
    found: list[tuple[float, int]] = []
    end = time.perf_counter() + seconds

    async def one(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < end and len(found) < most:
            start = time.perf_counter()
            writer.write(requests[number % len(requests)])
            status, _ = await answer_from(reader)
            found.append((time.perf_counter() - start, status))
            number += connections
        writer.close()

    await asyncio.gather(*(one(number) for number in range(connections)))
    return found


# the runtime alone


def runtime(model: Path, folder: Path, seconds: float) -> None:
    """Print pictures per second of the network alone, and with decoding."""
    import numpy as np

    from retrain.data import PictureForm, decode_image
    from retrain.model import Classifier

    classifier = Classifier(model)
    size = classifier.description.height, classifier.description.width
    files = pictures_in(folder)
    pixels = [decode_image(file, PictureForm(*size)) for file in files]
    classifier.scores(np.stack(pixels[:16]))
    cores = len(os.sched_getaffinity(0))

    def speed(work: object) -> float:
        done = [0] * cores
        start = time.perf_counter()

        def one(thread: int) -> None:
            number = thread
            while time.perf_counter() < start + seconds:
                work(number % len(files))  # type: ignore[operator]
                number += cores
                done[thread] += 1

        with ThreadPoolExecutor(cores) as threads:
            list(threads.map(one, range(cores)))
        return sum(done) / (time.perf_counter() - start)

    network = speed(lambda number: classifier.scores(pixels[number][np.newaxis]))
    both = speed(lambda number: classifier.scores(decode_image(files[number], PictureForm(*size))[np.newaxis]))
    print(json.dumps({"network": network, "with decoding": both}))


def load(model: Path, folder: Path, rounds: int, seconds: float) -> None:
    """Compare the server with the runtime."""
    requests = [request_of(file) for file in pictures_in(folder)]
    alone = [sys.executable, __file__, "runtime", str(model), str(folder), "--seconds", str(seconds / 2)]
    speeds: dict[str, list[float]] = {}
    times: dict[int, list[float]] = {connections: [] for connections in CONNECTIONS}
    with serving(model) as port:
        for _ in range(rounds):
            for name, value in json.loads(subprocess.check_output(alone)).items():
                speeds.setdefault(name, []).append(value)
            for connections in CONNECTIONS:
                start = time.perf_counter()
                found = asyncio.run(clients(port, requests, connections, seconds, 10**9))
                assert {status for _, status in found} == {200}, Counter(status for _, status in found)
                speeds.setdefault(str(connections), []).append(len(found) / (time.perf_counter() - start))
                times[connections] += [one for one, _ in found]
    for name in ("network", "with decoding"):
        print(f"runtime, {name}: {statistics.median(speeds[name]):.1f} pictures/s")
    print("| connections | requests/s | p50, ms | p99, ms | of the runtime with decoding | of the network alone |")
    print("|---|---|---|---|---|---|")
    for connections in CONNECTIONS:
        own = speeds[str(connections)]
        ratios = [
            statistics.median(one / other for one, other in zip(own, speeds[name], strict=True))
            for name in ("with decoding", "network")
        ]
        cuts = statistics.quantiles(times[connections], n=100)
        print(
            f"| {connections} | {statistics.median(own):.1f} | {1000 * cuts[49]:.0f} | {1000 * cuts[98]:.0f} | "
            f"{ratios[0]:.2f} | {ratios[1]:.2f} |"
        )


def soak(model: Path, folder: Path, count: int) -> None:
    """Print the server's memory over many requests."""
    requests = [request_of(file) for file in pictures_in(folder)]
    statuses: Counter[int] = Counter()
    with serving(model) as port:
        for tenth in range(10):
            found = asyncio.run(clients(port, requests, 32, 10**9, count // 10))
            statuses.update(status for _, status in found)
            print(f"{(tenth + 1) * count // 10:,} requests: {memory_of(port) / 2**20:.0f} MiB", flush=True)
    print(dict(statuses))


def memory_of(port: int) -> float:
    """The server's resident memory, bytes."""
    import urllib.request

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    return float(re.search(r"^process_resident_memory_bytes (\S+)", text, re.MULTILINE)[1])  # type: ignore[index]


# hostile requests


def bomb(width: int, height: int) -> bytes:
    """A PNG that claims to be large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")


class Hostile:
    """Makes requests that are wrong in some way."""

    def __init__(self, files: list[bytes], seed: int) -> None:
        self.random, self.files = random.Random(seed), files
        self.kinds = [
            *(self.zoo, self.random_bytes, self.damaged, self.wrong_json, self.wrong_base64, self.wrong_tensor),
            *(self.wrong_form, self.huge_head, self.cut_short, self.bomb, self.wrong_head, self.too_large, self.path),
        ]

    def zoo(self) -> bytes:
        return request_of(self.random.choice(self.files), self.random.choice(["/predict", "/explain"]))

    def random_bytes(self) -> bytes:
        return request_of(self.random.randbytes(self.random.randrange(3000)))

    def damaged(self) -> bytes:
        data = bytearray(self.random.choice(self.files)[:100_000])
        for _ in range(self.random.randrange(1, 20)):
            if data:
                data[self.random.randrange(len(data))] = self.random.randrange(256)
        return request_of(bytes(data[: self.random.randrange(1, len(data) + 2)]))

    def wrong_json(self) -> bytes:
        texts = [
            "{",
            "[" * 50_000,
            '{"instances": ' + "9" * 9_999 + "}",
            "NaN",
            '{"instances": [1e999]}',
            "nul",
            '"\\ud800"',
        ]
        texts += [
            '{"instances": [{"b64": null}]}',
            '{"inputs": {"image_bytes": 1}}',
            '{"instances": [' + "{}," * 500 + "1]}",
        ]
        path = self.random.choice(["/v1/models/m:predict", "/v2/models/m/infer"])
        return request_of(self.random.choice(texts).encode(), path)

    def wrong_base64(self) -> bytes:
        text = base64.b64encode(self.random.choice(self.files)[:5000]).decode()
        cut = self.random.randrange(len(text) + 1)
        value = text[:cut] + self.random.choice(["", "%", "=", "\\u0000", "é"]) + text[cut:]
        return request_of(f'{{"instances": [{{"b64": "{value}"}}]}}'.encode(), "/v1/models/m:predict")

    def wrong_tensor(self) -> bytes:
        binary = self.random.randbytes(self.random.randrange(200))
        size = self.random.choice([len(binary), 0, 2**62, -1])
        tensor = {"name": "image_bytes", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": size}}
        head = json.dumps({"inputs": [tensor]}).encode()
        length = self.random.choice([len(head), 0, 10**9, "x"])
        return request_of(head + binary, "/v2/models/m/infer", f"Inference-Header-Content-Length: {length}")

    def wrong_form(self) -> bytes:
        body = b'--x\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n' + self.random.randbytes(50)
        body = self.random.choice(
            [body, body + b"\r\n--x--", b"--x--", self.random.randbytes(99), b"--x\r\n\r\n" * 999]
        )
        boundary = self.random.choice(["x", "", "y" * 99, '"x"'])
        return request_of(body, "/predict", f"Content-Type: multipart/form-data; boundary={boundary}")

    def huge_head(self) -> bytes:
        return request_of(b"", "/predict", "X: " + "x" * self.random.choice([10_000, 70_000, 400_000]))

    def cut_short(self) -> bytes:
        whole = request_of(self.random.choice(self.files)[:50_000])
        return whole[: self.random.randrange(1, len(whole))]

    def bomb(self) -> bytes:
        side = self.random.choice([5000, 7000, 30_000, 60_000, 2**31 - 1])
        return request_of(bomb(side, self.random.choice([1, side])))

    def wrong_head(self) -> bytes:
        heads = [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
            "\0\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ]
        heads += [
            "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: evil\r\n\r\n",
        ]
        heads += ["POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"]
        return self.random.choice(heads).encode()

    def too_large(self) -> bytes:
        return request_of(b"", "/predict").replace(b"Content-Length: 0", b"Content-Length: 99999999999")

    def path(self) -> bytes:
        path = self.random.choice(
            ["/../../etc/passwd", "/%00", "/report/..%2f..", "/v1/models/" + "x" * 5000, "/\\", "/%ff"]
        )
        return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


async def hostile(port: int, files: list[bytes], count: int) -> Counter[str]:
    """Send hostile requests, each on a connection of its own, 32 at a time; what came back, by kind."""
    outcomes: Counter[str] = Counter()
    numbers = iter(range(count))

    async def one(seed: int) -> None:
        maker = Hostile(files, seed)
        for _ in numbers:
            kind = maker.random.choice(maker.kinds)
            async with connected(port) as (reader, writer):
                writer.write(kind())
                if kind == maker.cut_short:
                    writer.write_eof()
                try:
                    status, body = await asyncio.wait_for(answer_from(reader), 40)
                    assert status < 400 or json.loads(body)["error"], body
                    outcome = str(status)
                except (asyncio.IncompleteReadError, ConnectionError):
                    outcome = "closed"
                except asyncio.TimeoutError:
                    outcome = "silence"
                outcomes[f"{kind.__name__} {outcome}"] += 1

    await asyncio.gather(*(one(seed) for seed in range(32)))
    return outcomes


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()


def fuzz(model: Path, folder: Path, count: int) -> None:
    """Send hostile requests, and ask for a right one between them."""
    files = pictures_in(folder, 10_000)
    outcomes: Counter[str] = Counter()
    with serving(model) as port:
        for tenth in range(10):
            outcomes += asyncio.run(hostile(port, files, count // 10))
            [(_, status)] = asyncio.run(clients(port, [b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"], 1, 60, 1))
            assert status == 200
            print(f"{(tenth + 1) * count // 10:,} requests: {memory_of(port) / 2**20:.0f} MiB", flush=True)
    for outcome, number in sorted(outcomes.items()):
        print(f"{number:6,} {outcome}")
    bad = {
        outcome for outcome in outcomes if outcome.split()[1] not in ("closed", "503") and outcome.split()[1] >= "500"
    }
    assert not bad, bad


def main() -> None:
    """Run one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("load", "soak", "fuzz", "runtime"))
    parser.add_argument("model", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--requests", type=int, default=20_000)
    args = parser.parse_args()
    if args.what == "load":
        load(args.model, args.pictures, args.rounds, args.seconds)
    elif args.what == "runtime":
        runtime(args.model, args.pictures, args.seconds)
    elif args.what == "soak":
        soak(args.model, args.pictures, args.requests)
    else:
        fuzz(args.model, args.pictures, args.requests)


if __name__ == "__main__":
    main()
