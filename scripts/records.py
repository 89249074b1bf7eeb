"""What a committed record is: a CSV file under benches/record/HOST/, with its provenance in comment lines above the header.

    # command: cargo run --release -p slipring-compare -- ring --quick --json
    # commit: 0123abc
    # dirty: no
    # cpu: AMD EPYC
    ...
    bench,case,contender,ns_per_op,ns_min,...
    ring,touch8-mix-16x1024-fit,slipring,2.144,...

A key may stand several times (`command`, `skipped`). Nothing of this is a program of its own; `scripts/record` and its
neighbours import it. It doesn't judge figures.
"""

import csv
import datetime
import json
import os
import platform
import re
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RECORDS = ROOT / "benches/record"
# Above this many runnable threads on average somebody else is at work, and times mean nothing.
LOAD_MAX = 0.5
# These come first in a record, in this order; what else a line holds follows.
COLUMNS = ["bench", "case", "contender", "ns_per_op", "ns_min", "ns_q1", "ns_q3", "ns_max", "repeats", "emulated", "memory_bytes"]
# Records and what is generated from them don't make a tree dirty: taking one record must not spoil the next one's provenance.
GENERATED = [":!benches/record", ":!PERFORMANCE.md"]
UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


class RecordError(Exception):
    """A record, or what should become one, can't be used; the message says which, why, and what to do."""


class Record:
    """`meta` is a list of (key, value), `rows` a list of dicts of strings."""

    def __init__(self, meta, rows, path=None):
        self.meta, self.rows, self.path = meta, rows, path

    def get(self, key, default=""):
        return next((value for name, value in self.meta if name == key), default)

    def all(self, key):
        return [value for name, value in self.meta if name == key]


def read_record(path):
    meta, lines = [], []
    for line in Path(path).read_text().splitlines():
        if line.startswith("# "):
            key, colon, value = line[2:].partition(": ")
            if not colon:
                raise RecordError(f"{path}: {line!r} isn't `# key: value`")
            meta.append((key, value))
        elif line:
            lines.append(line)
    rows = list(csv.DictReader(lines))
    broken = next((row for row in rows if None in row or None in row.values()), None)
    if not rows or broken:
        raise RecordError(f"{path}: a header and rows of its length are needed; record it anew. {broken or ''}")
    return Record(meta, rows, path)


def write_record(path, meta, rows):
    columns = [name for name in COLUMNS if any(name in row for row in rows)]
    columns += [name for name in dict.fromkeys(key for row in rows for key in row) if name not in columns]
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as out:
        out.writelines(f"# {key}: {' '.join(str(value).split())}\n" for key, value in meta)
        writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def parse_lines(text):
    """JSON lines of a benchmark: (meta, rows). A line is a row if it has a `case` or a `window_bytes`; the others say what was measured on, what
    was skipped, and how large the pool of a case and the memory of a contender was, which becomes columns."""
    meta, rows, memory, plans = [], [], {}, {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise RecordError(f"line {number} isn't JSON ({error}): {line[:80]!r}") from error
        if "case" in entry or "window_bytes" in entry:
            rows.append(entry)
        elif "memory_bytes_of" in entry:
            memory[entry["memory_bytes_of"]] = entry["memory_bytes"]
        elif "plan_of" in entry:
            plans[entry["plan_of"]] = entry["plan"]
        elif "skipped" in entry:
            meta.append(("skipped", f"{entry['skipped']}: {entry.get('why', 'no reason given')}"))
        else:
            flat = [(key, value) for key, value in entry.items() if key != "bench"]
            meta += [(key, json.dumps(value, sort_keys=True) if isinstance(value, dict) else value) for key, value in flat]
    for row in rows:
        if row.get("emulated") in (True, False):
            row["emulated"] = "yes" if row["emulated"] else ""
        of_case = {"memory_bytes": memory.get(row.get("case"), {}).get(row.get("contender")), **plans.get(row.get("case"), {})}
        for key, value in of_case.items():
            if value is not None:
                row.setdefault(key, value)
    if not rows:
        raise RecordError("no line with a result was printed")
    return meta, rows


def read_text(path):
    try:
        return Path(path).read_text().strip()
    except OSError:
        return "unknown"


def output_of(*command):
    try:
        return subprocess.run(command, cwd=ROOT, check=True, text=True, capture_output=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def cpu_fields():
    """Vendor, family, model and name of the first CPU, as Linux tells them."""
    fields = {}
    for line in read_text("/proc/cpuinfo").split("\n\n")[0].splitlines():
        key, _, value = line.partition(":")
        fields[key.strip()] = value.strip()
    return fields


def microarchitecture(fields):
    """AMD's by family and model, because a virtual machine's model name often says `AMD EPYC` only; empty where it isn't known."""
    number = lambda key: int(fields.get(key, "-1")) if fields.get(key, "").isdigit() else -1
    family, model = number("cpu family"), number("model")
    if fields.get("vendor_id") != "AuthenticAMD":
        return ""
    if family == 25:
        return "zen4" if 0x10 <= model <= 0x1F or 0x60 <= model <= 0x7F or model >= 0xA0 else "zen3"
    return {23: "zen2" if model >= 0x30 else "zen1", 26: "zen5"}.get(family, "")


def host_name(fields=None, cpus=None):
    """A short name of the machine's kind, never of the machine: amd-epyc-zen5-2cpu."""
    fields = cpu_fields() if fields is None else fields
    cpus = len(os.sched_getaffinity(0)) if cpus is None else cpus
    name = re.sub(r"\((R|TM|C)\)|\bCPU\b|\bProcessor\b|\b\d+-Core\b|@.*", " ", fields.get("model name", "unknown"), flags=re.I)
    parts = re.findall(r"[a-z0-9]+", name.lower()) + [microarchitecture(fields), f"{cpus}cpu"]
    return "-".join(part for part in parts if part)


def caches():
    """`L1d 48K, L2 1024K, L3 32768K` of CPU 0."""
    found = []
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = (read_text(index / name) for name in ("level", "type", "size"))
        if kind != "Instruction":
            found.append(f"L{level}{'d' if kind == 'Data' else ''} {size}")
    return ", ".join(found) or "unknown"


def build_provenance():
    """Where the program came from."""
    changed = output_of("git", "status", "--porcelain", "--", ".", *GENERATED)
    return [
        ("commit", output_of("git", "rev-parse", "HEAD")),
        ("dirty", "unknown" if changed == "unknown" else "yes" if changed else "no"),
        ("rustc", output_of("rustc", "--version")),
    ]


def machine_provenance():
    """Where it ran."""
    fields = cpu_fields()
    return [
        ("kernel", platform.release()),
        ("cpu", fields.get("model name", platform.machine())),
        ("cpus", len(os.sched_getaffinity(0))),
        ("virtual", "yes" if "hypervisor" in fields.get("flags", "").split() else "no"),
        ("caches", caches()),
        ("memory", next((line.split(":")[1].strip() for line in read_text("/proc/meminfo").splitlines() if line.startswith("MemTotal")), "unknown")),
        ("thp", read_text("/sys/kernel/mm/transparent_hugepage/enabled")),
        ("busy_before", f"{busy_percent():.0f} %"),
        ("date", datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")),
    ]


def busy_percent(seconds=1.0):
    """How much of all CPUs is used by whoever runs now, and by the hypervisor's other guests."""
    ticks = lambda: [int(word) for word in read_text("/proc/stat").splitlines()[0].split()[1:]]
    before = ticks()
    time.sleep(seconds)
    spent = [after - earlier for earlier, after in zip(before, ticks())]
    # Columns 3 and 4 are idle time and waiting for disks.
    return 100 * (1 - (spent[3] + spent[4]) / max(sum(spent), 1))


def load_warning(load, limit=LOAD_MAX):
    """What to say about a load average, or None."""
    if load <= limit:
        return None
    return f"warning: the load average is {load:.2f}, above {limit}: times of a busy machine mean nothing; wait, or stop what runs"


def size_bytes(text):
    """`32KiB` in bytes; None if it is no size."""
    found = re.fullmatch(r"(\d+)(B|KiB|MiB|GiB)", text)
    return int(found[1]) * UNITS[found[2]] if found else None


def size_text(count):
    for unit in ("GiB", "MiB", "KiB"):
        if count >= UNITS[unit] and count % UNITS[unit] == 0:
            return f"{count // UNITS[unit]} {unit}"
    return f"{count} B"


def cache_bytes(record, level):
    """The size of a cache of the record's machine from `caches: L2 1024K, ...`; None if it isn't known."""
    found = re.search(rf"\b{level} (\d+)([KM])", record.get("caches"))
    return int(found[1]) * {"K": 1 << 10, "M": 1 << 20}[found[2]] if found else None
