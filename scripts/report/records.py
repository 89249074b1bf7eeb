"""Records: CSV files under benches/record/HOST/, with their provenance in comment lines above the
header.

    # command: cargo run --release -p slipring-compare -- ring --quick --json
    # commit: 0123abc
    # dirty: no
    # cpu: AMD EPYC
    ...
    bench,case,contender,ns_per_op,ns_min,...
    ring,touch8-mix-16x1024-fit,slipring,2.144,...

A key may occur several times (`command`, `skipped`).

Committed records are evidence and are never changed. Some of them use names that contenders, cases
and commands had earlier. `read_record` translates these by one table, below, so that pages show the
present names, and commands as one types them today. This module doesn't judge figures.
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

ROOT = Path(__file__).resolve().parents[2]
RECORDS = ROOT / "benches/record"
# Above this many runnable threads on average other programs are running, and times mean nothing.
LOAD_MAX = 0.5
# The first columns of a record, in this order; all others follow.
COLUMNS = ["bench", "case", "contender", "ns_per_op", "ns_min", "ns_q1", "ns_q3", "ns_max"]
COLUMNS += ["repeats", "emulated", "memory_bytes"]
# Records and generated pages don't make a tree dirty: taking one record must not change the
# provenance of the next one.
GENERATED = [":!benches/record", ":!PERFORMANCE.md"]
# The names of contenders in older records, and what they are called now.
OLD_CONTENDERS = {
    "seed-arc": "arc-ring",
    "seed-arc-patient": "arc-ring-patient",
    "seed-arc-touched": "arc-ring-touched",
    "seed-arc-untouched": "arc-ring-untouched",
    "seed-arc-4KiB-pages-touched": "arc-ring-4KiB-pages-touched",
    "seed-arc-4KiB-pages-untouched": "arc-ring-4KiB-pages-untouched",
    "seed-static": "static-ring",
    "s2": "go-pool",
    "s3": "mutex-queue",
    "s3-parks": "mutex-queue-parks",
    "go-s2": "go-sync-pool",
    "go-s3": "go-mutex-queue",
}
# The same for the first part of a case's name, and for subcommands of slipring-compare.
OLD_CASES = {"seed-8x128-": "fixed-8x128-", "stream.": "queue."}
OLD_COMMANDS = {"seed-table": "fixed-size"}
UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


class RecordError(Exception):
    """A record, or the text of one, is unusable. The message says which, why, and what to do."""


class Record:
    """`meta` is a list of (key, value), `rows` a list of dicts of strings."""

    def __init__(self, meta, rows, path=None):
        self.meta, self.rows, self.path = meta, rows, path

    def get(self, key, default=""):
        return next((value for name, value in self.meta if name == key), default)

    def all(self, key):
        return [value for name, value in self.meta if name == key]


def new_contender(name):
    return OLD_CONTENDERS.get(name, name)


def new_case(name):
    old = next((old for old in OLD_CASES if name.startswith(old)), "")
    return OLD_CASES[old] + name[len(old) :] if old else name


def new_command(text):
    """A command as it is typed today: subcommands and contenders by their present names."""
    name = lambda found: new_contender(found[0])
    text = re.sub(r"(?<=--only )\S+", lambda only: re.sub(r"[^,]+", name, only[0]), text)
    return re.sub(r"(?<= -- )[\w-]+", lambda found: OLD_COMMANDS.get(found[0], found[0]), text)


def read_record(path):
    """A record with present names, whatever names the file has."""
    meta, lines = [], []
    for line in Path(path).read_text().splitlines():
        if line.startswith("# "):
            key, colon, value = line[2:].partition(": ")
            if not colon:
                raise RecordError(f"{path}: {line!r} isn't `# key: value`")
            meta.append((key, new_command(value) if key == "command" else value))
        elif line:
            lines.append(line)
    rows = list(csv.DictReader(lines))
    broken = next((row for row in rows if None in row or None in row.values()), None)
    if not rows or broken:
        reason = "a header and rows of its length are needed; record it again."
        raise RecordError(f"{path}: {reason} {broken or ''}")
    for row in rows:
        names = {"case": new_case, "contender": new_contender}
        row |= {key: new(row[key]) for key, new in names.items() if key in row}
    return Record(meta, rows, path)


def write_record(path, meta, rows):
    columns = [name for name in COLUMNS if any(name in row for row in rows)]
    found = dict.fromkeys(key for row in rows for key in row)
    columns += [name for name in found if name not in columns]
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as out:
        out.writelines(f"# {key}: {' '.join(str(value).split())}\n" for key, value in meta)
        writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def plain(value):
    return json.dumps(value, sort_keys=True) if isinstance(value, dict) else value


def parse_lines(text):
    """JSON lines of a benchmark as (meta, rows). A line is a row if it has a `case` or a
    `window_bytes`. The others are about the machine, about skipped cases, and about the pool of a
    case and the memory of a contender, which become columns."""
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
            meta += [(key, plain(value)) for key, value in flat]
    for row in rows:
        if row.get("emulated") in (True, False):
            row["emulated"] = "yes" if row["emulated"] else ""
        case = row.get("case")
        of_case = {"memory_bytes": memory.get(case, {}).get(row.get("contender"))}
        of_case |= plans.get(case, {})
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
        done = subprocess.run(command, cwd=ROOT, check=True, text=True, capture_output=True)
        return done.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def cpu_fields():
    """Vendor, family, model and name of the first CPU, from /proc/cpuinfo."""
    fields = {}
    for line in read_text("/proc/cpuinfo").split("\n\n")[0].splitlines():
        key, _, value = line.partition(":")
        fields[key.strip()] = value.strip()
    return fields


def microarchitecture(fields):
    """AMD's by family and model, because a virtual machine's model name is often only `AMD EPYC`.
    Empty if unknown."""
    number = lambda key: int(fields.get(key, "-1")) if fields.get(key, "").isdigit() else -1
    family, model = number("cpu family"), number("model")
    if fields.get("vendor_id") != "AuthenticAMD":
        return ""
    if family == 25:
        is_zen4 = 0x10 <= model <= 0x1F or 0x60 <= model <= 0x7F or model >= 0xA0
        return "zen4" if is_zen4 else "zen3"
    return {23: "zen2" if model >= 0x30 else "zen1", 26: "zen5"}.get(family, "")


def host_name(fields=None, cpus=None):
    """A short name of the machine's kind, never of the machine: amd-epyc-zen5-2cpu."""
    fields = cpu_fields() if fields is None else fields
    cpus = len(os.sched_getaffinity(0)) if cpus is None else cpus
    noise = r"\((R|TM|C)\)|\bCPU\b|\bProcessor\b|\b\d+-Core\b|@.*"
    name = re.sub(noise, " ", fields.get("model name", "unknown"), flags=re.I)
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
    """The source and the compiler of the program."""
    changed = output_of("git", "status", "--porcelain", "--", ".", *GENERATED)
    return [
        ("commit", output_of("git", "rev-parse", "HEAD")),
        ("dirty", "unknown" if changed == "unknown" else "yes" if changed else "no"),
        ("rustc", output_of("rustc", "--version")),
    ]


def machine_provenance():
    """The machine it ran on."""
    fields = cpu_fields()
    meminfo = read_text("/proc/meminfo").splitlines()
    memory = (line.split(":")[1].strip() for line in meminfo if line.startswith("MemTotal"))
    return [
        ("kernel", platform.release()),
        ("cpu", fields.get("model name", platform.machine())),
        ("cpus", len(os.sched_getaffinity(0))),
        ("virtual", "yes" if "hypervisor" in fields.get("flags", "").split() else "no"),
        ("caches", caches()),
        ("memory", next(memory, "unknown")),
        ("thp", read_text("/sys/kernel/mm/transparent_hugepage/enabled")),
        ("busy_before", f"{busy_percent():.0f} %"),
        ("date", datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")),
    ]


def busy_percent(seconds=1.0):
    """The share of all CPUs that running programs and the hypervisor's other guests use."""
    ticks = lambda: [int(word) for word in read_text("/proc/stat").splitlines()[0].split()[1:]]
    before = ticks()
    time.sleep(seconds)
    spent = [after - earlier for earlier, after in zip(before, ticks())]
    # Columns 3 and 4 are idle time and waiting for disks.
    return 100 * (1 - (spent[3] + spent[4]) / max(sum(spent), 1))


def load_warning(load, limit=LOAD_MAX):
    """A warning about a load average, or None."""
    if load <= limit:
        return None
    advice = "times of a busy machine mean nothing; wait, or stop what runs"
    return f"warning: the load average is {load:.2f}, above {limit}: {advice}"


def size_bytes(text):
    """`32KiB` in bytes; None if it isn't a size."""
    found = re.fullmatch(r"(\d+)(B|KiB|MiB|GiB)", text)
    return int(found[1]) * UNITS[found[2]] if found else None


def size_text(count):
    for unit in ("GiB", "MiB", "KiB"):
        if count >= UNITS[unit] and count % UNITS[unit] == 0:
            return f"{count // UNITS[unit]} {unit}"
    return f"{count} B"


def cache_bytes(record, level):
    """A cache's size on the record's machine, from `caches: L2 1024K, ...`; None if unknown."""
    found = re.search(rf"\b{level} (\d+)([KM])", record.get("caches"))
    return int(found[1]) * {"K": 1 << 10, "M": 1 << 20}[found[2]] if found else None
