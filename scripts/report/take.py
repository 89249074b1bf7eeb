"""Takes records: the command of each family, the servers that some of them need, and the rows of
their output. scripts/record is its command.
"""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from report import downloads, records

COMPARE = "cargo run --release --quiet -p slipring-compare --"
SLIPRING = "cargo run --release --quiet --"
# Commands that print JSON lines; QUICK has the options that make them small.
SIMPLE = {
    "ring-quick": f"{COMPARE} ring --quick --json",
    # Fewer repeats than by default: with 21 it takes most of an hour.
    "ring": f"{COMPARE} ring --repeats 5 --json",
    "two-threads": f"{COMPARE} ring --case two-512B-b1,two-512B-b64"
    " --only slipring,arc-ring,rtrb --repeats 41 --json",
    "pool-sizes": f"{COMPARE} ring --sweep pools --repeats 5"
    " --only slipring,arc-ring,free-list,bump-two-arenas,jemalloc --json",
    "alloc-sizes": f"{COMPARE} ring --sweep alloc-sizes --repeats 5 --json",
    "pretouch": f"{COMPARE} pretouch --json",
    "ladder": f"{COMPARE} ladder --json",
    "fixed-size": f"{COMPARE} fixed-size --json",
    "window": f"{SLIPRING} sweep --json",
    "class-quick": f"{COMPARE} class --quick --json",
    "class": f"{COMPARE} class --repeats 5 --json",
    "queue-quick": f"{COMPARE} queue --quick --json",
    "queue": f"{COMPARE} queue --repeats 5 --json",
    "objects-quick": f"{COMPARE} objects --quick --json",
    "objects-minute": f"{COMPARE} objects --case s3-64MiB-x32"
    " --only slipring,slipring-unpooled,object_store --objects 1000 --repeats 1 --json",
    "pace": f"{COMPARE} objects-pace --json",
}
COUNTS = "scripts/callgrind"
GO = "scripts/go-compare"
FAMILIES = [*SIMPLE, "objects", "instructions", "load"]
BY_NAME = ["go", "downloads"]
SMALL = ["ring", "pool-sizes", "alloc-sizes", "pretouch", "ladder", "fixed-size"]
QUICK = dict.fromkeys(SMALL, "--quick")
QUICK |= {"objects-quick": "--repeats 1 --objects 4 --parallel 2", "objects-minute": "--objects 4"}
QUICK |= {"pace": "--quick --objects 64"}
BUILDS = [
    "cargo build --release -p slipring-compare -p slipring-ingest --bins",
    "cargo build --release -p slipring-ingest --example bare_loop",
]

# The server's CPU and the sender's: one core serves, IO thread, stages and sink.
SERVER_CPU, CLIENT_CPU = 0, 1
DIM = 128
# Few connections with many requests in flight, many with one, and one with intended sending times:
# (connections, requests in flight, vectors per request, requests per second or None).
SHAPES = [(4, 32, 1, None), (4, 32, 8, None), (256, 1, 1, None), (256, 1, 8, None)]
SHAPES += [(4, 32, 1, 100_000)]
SERVE = (
    f"{SLIPRING} serve --dim {DIM} --sink null --cpus {SERVER_CPU} --stage-cpus {SERVER_CPU}"
    " --listen {address}"
)
BARE = (
    f"taskset -c {SERVER_CPU} cargo run --release --quiet -p slipring-ingest --example bare_loop --"
    f" {{address}} {DIM}"
)
SERVERS = {"serve": SERVE, "bare-loop": BARE}
LOAD = (
    f"taskset -c {CLIENT_CPU} {SLIPRING} load --json --to {{address}} --dim {DIM}"
    " --vectors {vectors} --connections {connections} --in-flight {window} --duration {seconds}s"
)
READY_SECONDS, STOP_SECONDS = 120, 20

OBJECTS = f"{COMPARE} objects --json"
OBJECTS_QUICK = " --repeats 1 --objects 4 --parallel 2"
BUCKET = "slipring"


def run(command, environment=None):
    """The output of a command; its errors are passed through."""
    print(f"    {command}", flush=True)
    options = {"cwd": records.ROOT, "env": environment, "text": True, "stdout": subprocess.PIPE}
    done = subprocess.run(shlex.split(command), **options)
    if done.returncode:
        raise records.RecordError(f"it ended with {done.returncode}: {command}")
    return done.stdout


class Server:
    """A server at a free port, from its line `ready` until it is stopped."""

    def __init__(self, command):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.command = command.format(address=self.address)

    def __enter__(self):
        # cargo replaces itself by the program, so that signals reach the program.
        options = {"cwd": records.ROOT, "text": True, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(shlex.split(self.command), **options)
        late = threading.Timer(READY_SECONDS, self.process.kill)
        late.start()
        ready = any(line.startswith("ready ") for line in self.process.stdout)
        late.cancel()
        if not ready:
            self.__exit__()
            raise records.RecordError(f"it never printed `ready`: {self.command}")
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def load_row(server, shape, repeat, answer):
    connections, window, vectors, rate = shape
    # A name like that of a case of compare: connections, requests in flight, vectors.
    case = f"load-{connections}x{window}-v{vectors}" + (f"-rate{rate}" if rate else "")
    row = {"bench": "load", "case": case, "contender": server, "repeat": repeat}
    row |= {"connections": connections, "window": window, "vectors": vectors, "rate": rate or ""}
    row |= {"seconds": answer["seconds"]}
    rates = ("requests_per_s", "vectors_per_s", "megabytes_per_s")
    row |= {name: round(answer[name], 1) for name in rates}
    latencies = answer["latency_us"].items()
    row |= {f"{name}_us": value for name, value in latencies if name != "count"}
    return row | {"requests_missed": answer["requests_missed"]}


def load(quick):
    """Servers and shapes in turn in every repeat (A B A B ...), each server started anew."""
    if not {SERVER_CPU, CLIENT_CPU} <= os.sched_getaffinity(0):
        cpus = f"{SERVER_CPU} and {CLIENT_CPU}"
        raise records.RecordError(f"load needs CPUs {cpus}: the server's and the sender's")
    repeats, seconds, shapes = (2, 1, SHAPES[:1]) if quick else (5, 5, SHAPES)
    rows = []
    for repeat in range(1, repeats + 1):
        for shape in shapes:
            for name, command in SERVERS.items():
                with Server(command) as server:
                    text = LOAD + (" --rate {rate}" if shape[3] else "")
                    fields = dict(zip(("connections", "window", "vectors", "rate"), shape))
                    text = text.format(address=server.address, seconds=seconds, **fields)
                    rows.append(load_row(name, shape, repeat, json.loads(run(text))))
    address = "127.0.0.1:PORT"
    commands = [command.format(address=address) for command in SERVERS.values()]
    fields = {name: name.upper() for name in ("connections", "window", "vectors")}
    commands += [LOAD.format(address=address, seconds=seconds, **fields) + " [--rate RATE]"]
    order = "repeats, then shapes, then servers; each run on a server started anew"
    return commands, [("order", order)], rows


def cache_folder():
    """The folder of tools that are set up once; scripts/env.sh has the same."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "slipring"


def s3s_fs_version():
    """The version that scripts/objects pins for the tests."""
    text = (records.ROOT / "scripts/objects").read_text()
    return re.search(r"^s3s_fs=([\d.]+)$", text, re.M)[1]


class S3sFs:
    """A real server of S3's interface over a folder of its own, at a free port, for a `with`."""

    def __enter__(self):
        self.version = s3s_fs_version()
        tool = cache_folder() / f"s3s-fs-{self.version}"
        if not (tool / "complete").exists():
            shutil.rmtree(tool, ignore_errors=True)
            install = f"cargo install --quiet --locked --root {shlex.quote(str(tool))}"
            run(f"{install} --version {self.version} --features binary s3s-fs")
            (tool / "complete").touch()
        self.folder = tempfile.TemporaryDirectory()
        # A bucket is a folder.
        (Path(self.folder.name) / BUCKET).mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        keys = {"AWS_ACCESS_KEY_ID": "slipring", "AWS_SECRET_ACCESS_KEY": "secret"}
        keys |= {"AWS_REGION": "us-east-1"}
        # A proxy wouldn't find this server.
        self.environment = os.environ | keys | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        command = [tool / "bin/s3s-fs", "--host", "127.0.0.1", "--port", str(port)]
        command += ["--access-key", "slipring", "--secret-key", "secret", self.folder.name]
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, **silent)
        end = time.monotonic() + READY_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return self
            except OSError:
                time.sleep(0.1)
        self.__exit__()
        raise records.RecordError(f"s3s-fs {self.version} never listened at {self.url}")

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()


def objects(quick):
    """Two runs: the built-in server, memory and files; then s3s-fs."""
    small = OBJECTS_QUICK if quick else ""
    real = f"{OBJECTS} --server s3s-fs --bucket {BUCKET} --endpoint {{url}}{small}"
    meta, rows = records.parse_lines(run(OBJECTS + small))
    with S3sFs() as server:
        text = run(real.format(url=server.url), server.environment)
        more_meta, more_rows = records.parse_lines(text)
    meta += [entry for entry in more_meta if entry not in meta]
    commands = [OBJECTS + small, real.format(url="http://127.0.0.1:PORT")]
    return commands, [("server", f"s3s-fs {server.version}"), *meta], rows + more_rows


def count_line(name, count, limit):
    """What `scripts/callgrind` prints per benchmark, and `instructions` reads."""
    verdict = "ok" if count <= limit else "FAILED"
    return f"{verdict} {name}: {count:.2f} instructions per operation, limit {limit}"


def instructions(text):
    """The counts of the lines that `count_line` makes."""
    line = r"^(?:ok|FAILED) (\S+): ([\d.]+) instructions per operation, limit ([\d.]+)$"
    found = re.findall(line, text, re.M)
    if not found:
        raise records.RecordError(f"{COUNTS} printed no count")
    common = {"bench": "instructions", "contender": "slipring"}
    of = lambda case, count, limit: {"case": case, "instructions_per_op": count, "limit": limit}
    return [common | of(*one) for one in found]


def take(family, quick):
    """(commands, meta, rows)"""
    if family == "load":
        return load(quick)
    if family == "objects":
        return objects(quick)
    if family == "downloads":
        return downloads.take(cache_folder(), quick)
    if family == "instructions":
        return [COUNTS], [], instructions(run(COUNTS))
    if family == "go":
        # The lines of both programs, without the table that the script makes of them.
        lines = [line for line in run(GO).splitlines() if line.startswith("{")]
        meta, rows = records.parse_lines("\n".join(lines))
        return [GO], sorted(set(meta)), rows
    small = [QUICK[family]] if quick and family in QUICK else []
    command = " ".join([SIMPLE[family], *small])
    return [command], *records.parse_lines(run(command))
