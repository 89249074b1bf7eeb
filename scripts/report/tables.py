"""The tables of PERFORMANCE.md, each a function from records to lines of Markdown."""

import re
from pathlib import Path
from statistics import median

from report import targets
from report.figures import cases_of, emulations, figure_of, find, grid, name, ns, number
from report.figures import pool_bytes, ranking, spread
from report.records import ROOT, RecordError, size_text

FASTEST = ["slipring", "slipring-raii", "free-list", "bump-two-arenas"]
POOL_CONTENDERS = [*FASTEST, "jemalloc", "arc-ring"]
SIZES_CONTENDERS = [*FASTEST, "mimalloc", "jemalloc", "glibc", "arc-ring"]


def case_table(records, case):
    """One case, all contenders, fastest first."""
    (record,) = records
    rows = sorted((row for row in record.rows if row.get("case") == case), key=number)
    if not rows:
        raise RecordError(f"{record.path} has no case {case}")
    slowest = find(record, case, "arc-ring")
    lines = []
    for row in rows:
        memory = row.get("memory_bytes")
        memory = f"{int(memory) / (1 << 20):,.1f} MiB" if memory else ""
        ratio = [f"{number(slowest) / number(row):.1f}x"] if slowest else []
        lines.append([name(row), ns(number(row)), spread(row), memory, *ratio])
    head = ["contender", "ns/op", "spread", "memory", *(["`arc-ring` takes"] if slowest else [])]
    return grid(head, lines) + emulations(rows)


def cases_table(records, *cases):
    """Several cases next to each other, medians only, in the order of the first."""
    (record,) = records
    of_case = lambda case: {row["contender"]: row for row in record.rows if row.get("case") == case}
    by_case = [of_case(case) for case in cases]
    missing = [case for case, rows in zip(cases, by_case) if not rows]
    if missing:
        raise RecordError(f"{record.path} has no case {', '.join(missing)}")
    order = lambda who: [number(rows[who]) if who in rows else 1e9 for rows in by_case]
    contenders = sorted({who for rows in by_case for who in rows}, key=order)

    def cell(row):
        return ns(number(row)) + (" *" if row.get("emulated") else "") if row else ""

    lines = [[f"`{who}`", *(cell(rows.get(who)) for rows in by_case)] for who in contenders]
    notes = emulations([row for rows in by_case for row in rows.values()])
    return grid(["contender", *(f"`{case}`" for case in cases)], lines) + notes


def beside(rows, shown, missing):
    """The contenders' figures of one line, and how much faster the slot path is than arc-ring."""
    both = "slipring" in rows and "arc-ring" in rows
    ratio = f"{number(rows['arc-ring']) / number(rows['slipring']):.1f}x" if both else ""
    return [*(ns(number(rows[who])) if who in rows else missing for who in shown), ratio]


def recorded(contenders, sizes):
    """Those of the contenders that any line of a table has."""
    return [who for who in contenders if any(who in rows for rows in sizes.values())]


def pools_table(records):
    """One line per pool size."""
    (record,) = records
    sizes = {}
    for row in record.rows:
        if pool_bytes(row):
            sizes.setdefault(pool_bytes(row), {})[row["contender"]] = row
    if not sizes:
        raise RecordError(f"{record.path} has no pool sizes")
    shown, has_slots = recorded(POOL_CONTENDERS, sizes), "slots" in record.rows[0]
    lines = []
    for size, rows in sorted(sizes.items()):
        entries = [next((row["slots"] for row in rows.values()), "")] if has_slots else []
        lines.append([size_text(size), *entries, *beside(rows, shown, "no room")])
    head = ["pool", *(["entries"] if has_slots else []), *(f"`{who}`" for who in shown), "ratio"]
    return grid(head, lines)


def sizes_table(records):
    """One line per allocation size."""
    (record,) = records
    sizes = {}
    for row in record.rows:
        if named := re.fullmatch(r"touch8-(\d+)v-128x1024-fit", row["case"]):
            sizes.setdefault(int(named[1]), {})[row["contender"]] = row
    if not sizes:
        raise RecordError(f"{record.path} has no allocation sizes")
    shown = recorded(SIZES_CONTENDERS, sizes)
    line = lambda vectors, rows: [vectors, size_text(vectors * 512), *beside(rows, shown, "")]
    lines = [line(vectors, rows) for vectors, rows in sorted(sizes.items())]
    return grid(["vectors", "bytes", *(f"`{who}`" for who in shown), "ratio"], lines)


def pretouch_table(records, moment):
    """One line per pool, for one moment (`map`, `first` or `steady`). The last columns compare an
    untouched pool with the same one touched, on small pages and on huge ones."""
    (record,) = records
    pools = {}
    for row in record.rows:
        if row["case"].startswith(f"pretouch-{moment}-"):
            pools.setdefault(pool_bytes(row), {})[row["contender"]] = row
    if not pools:
        raise RecordError(f"{record.path} has no moment {moment}")
    shown = list(dict.fromkeys(who for rows in pools.values() for who in rows))
    lines = []
    for size, rows in sorted(pools.items()):
        ratios = []
        for pages in ("-4KiB-pages", ""):
            pair = [rows.get(f"arc-ring{pages}-{state}") for state in ("untouched", "touched")]
            ratios.append(f"{number(pair[0]) / number(pair[1]):.2f}x" if all(pair) else "")
        cells = [ns(number(rows[who])) if who in rows else "" for who in shown]
        lines.append([size_text(size), *cells, *ratios])
    head = ["pool", *(f"`{who}`" for who in shown), "untouched / touched, 4 KiB", "the same, huge"]
    return grid(head, lines)


def steps_table(records, *contenders):
    """One case, contenders in the order given, and how much each adds to the one before it."""
    (record,) = records
    first = lambda who: next((row for row in record.rows if row["contender"] == who), None)
    rows = [first(who) for who in contenders]
    if None in rows:
        raise RecordError(f"{record.path} has no {contenders[rows.index(None)]}")
    pairs = zip(rows, rows[1:])
    added = ["", *(f"{number(row) - number(before):+.2f}" for before, row in pairs)]
    cells = [[name(row), ns(number(row)), spread(row), more] for row, more in zip(rows, added)]
    return grid(["rung", "ns/op", "spread", "adds"], cells)


def window_table(records):
    (record,) = records
    named = [("best", record.get("best_window_bytes"))]
    named += [("default", record.get("default_window_bytes"))]
    lines = []
    for row in record.rows:
        marks = ", ".join(text for text, value in named if value == row["window_bytes"])
        range_text = f"{ns(number(row, 'ns_min'))}–{ns(number(row, 'ns_max'))}"
        size = size_text(int(row["window_bytes"]))
        lines.append([size, ns(number(row, "ns_per_event")), range_text, marks])
    return grid(["window", "ns/event", "fastest–slowest", ""], lines)


def load_table(records):
    """Serve beside the bare loop: medians over repeats of each percentile and rate."""
    (record,) = records
    columns = ["p50_us", "p99_us", "p99.9_us", "p99.99_us"]
    contenders = list(dict.fromkeys(row["contender"] for row in record.rows))
    lines = []
    for case in cases_of(record):
        for who in contenders:
            is_it = lambda row: (row["case"], row["contender"]) == (case, who)
            rows = list(filter(is_it, record.rows))
            if rows:
                middle = lambda column: median(number(row, column) for row in rows)
                percentiles = [f"{middle(column):,.1f}" for column in columns]
                rate = f"{middle('vectors_per_s'):,.0f}"
                lines.append([f"`{case}`", f"`{who}`", rate, *percentiles])
    head = ["shape", "server", "vectors/s", "p50 us", "p99 us", "p99.9 us", "p99.99 us"]
    return grid(head, lines)


def lanes_table(records):
    (record,) = records
    lines = []
    for row in record.rows:
        cells = [f"`{row['case']}`", row["lanes"], row["cpus_used"], ns(number(row)), spread(row)]
        scaling = f"{number(row, 'scaling'):.2f}x"
        lines.append([*cells, ns(number(row, "ns_total")), scaling])
    skipped = record.all("skipped")
    notes = ["", *(f"Not run: {text}." for text in skipped)] if skipped else []
    head = ["case", "lanes", "CPUs", "ns/event of a lane", "spread"]
    return grid([*head, "ns/event of all", "events of one lane"], lines) + notes


def objects_table(records):
    """One line per contender and case: medians of everything that was counted."""
    (record,) = records
    mib = lambda row, column: f"{number(row, column) / (1 << 20):,.0f}"
    rate = lambda row, column: f"{number(row, 'object_bytes') / number(row, column) * 1e3:,.0f}"
    lines = []
    for case in cases_of(record):
        for row in (row for row in record.rows if row["case"] == case):
            server = row.get("server_cpu_seconds")
            server = f"{float(server):.2f}" if server else ""
            large = [number(row, f"large_allocations{which}") for which in ("_total", "")]
            cells = [f"`{case}`", name(row), rate(row, "ns_per_op")]
            cells += [f"{rate(row, 'ns_q3')}–{rate(row, 'ns_q1')}"]
            cells += [f"{number(row, 'cpu_seconds'):.2f}", server]
            cells += [mib(row, "warm_peak_rss_bytes"), mib(row, "peak_rss_bytes")]
            cells += [f"{large[0]:.0f}, {large[1]:.0f}", f"{number(row, 'faults_per_object'):,.0f}"]
            lines.append(cells)
    head = ["case", "contender", "MB/s", "spread", "CPU s", "server's", "peak MiB, warm-up"]
    return grid([*head, "in all", "large, of them measured", "faults"], lines)


def downloads_table(records):
    """One line per case and contender, the fastest first: medians over the repeats."""
    (record,) = records
    lines = []
    for case in cases_of(record):
        for who in reversed(ranking(record, "mib_per_s", case)):
            is_it = lambda row: (row["case"], row["contender"]) == (case, who)
            rates = [number(row, "mib_per_s") for row in filter(is_it, record.rows)]
            middle = lambda column: figure_of(record, case, who, column)
            cells = [f"`{case}`", f"`{who}`", f"{middle('mib_per_s'):,.0f}"]
            cells += [f"{min(rates):,.0f}–{max(rates):,.0f}"]
            cells += [f"{middle(name):.2f}" for name in ("cpu_seconds", "server_cpu_seconds")]
            lines.append([*cells, f"{middle('peak_kib') / 1024:,.0f}"])
    head = ["case", "contender", "MiB/s", "slowest–fastest", "CPU s", "server's", "peak MiB"]
    return grid(head, lines)


def downloads_beside_table(records):
    """Three lines per case, one column per contender: medians over the repeats."""
    (record,) = records
    contenders, lines = list(dict.fromkeys(row["contender"] for row in record.rows)), []
    shown = [("MiB/s", "mib_per_s", lambda rate: f"{rate:,.0f}")]
    shown += [("processor seconds", "cpu_seconds", lambda seconds: f"{seconds:.2f}")]
    shown += [("peak MiB", "peak_kib", lambda kib: f"{kib / 1024:,.0f}")]
    for case in cases_of(record):
        has = [find(record, case, who) for who in contenders]
        for figure, column, text in shown:
            of = lambda who: text(figure_of(record, case, who, column))
            cells = [of(who) if row else "" for who, row in zip(contenders, has)]
            lines.append([f"`{case}`", figure, *cells])
    return grid(["case", "figure", *(f"`{who}`" for who in contenders)], lines)


def pace_table(records):
    """One line per case, one column per setting: MiB per second, and the objects that failed or
    else the requests made again. The last column is the default beside the best fixed setting."""
    (record,) = records
    settings = list(dict.fromkeys(row["contender"] for row in record.rows))
    fixed = [who for who in settings if who != "default" and "auto" not in who]
    lines = []
    for case in cases_of(record):
        rows = {who: find(record, case, who) for who in settings}
        rows = {who: row for who, row in rows.items() if row}
        rates = {who: number(row, "bytes_per_second") / (1 << 20) for who, row in rows.items()}

        def counted(who, column, word):
            count = number(rows[who], column)
            return f" ({count:.0f} {word})" if count else ""

        failed = lambda who: counted(who, "failed", "failed")
        note = lambda who: failed(who) or counted(who, "retries", "again")
        cells = [f"{rates[who]:,.0f}{note(who)}" if who in rates else "" for who in settings]
        # A setting that loses objects is no setting to compare with.
        best = max((rates[who] for who in fixed if who in rates and not failed(who)), default=0)
        ratio = f"{rates['default'] / best:.2f}x" if best and "default" in rates else ""
        lines.append([f"`{case}`", *cells, ratio])
    return grid(["case", *(f"`{who}`" for who in settings), "default / best fixed"], lines)


def go_table(records):
    """Both programs of scripts/go-compare: medians over the rounds, and how much faster ours is
    than Go's, which comes first in a case."""
    (record,) = records
    cases = {}
    for row in record.rows:
        cases.setdefault(row["case"], {}).setdefault(row["contender"], []).append(number(row))
    lines = []
    for case, contenders in cases.items():
        theirs = next((who for who in contenders if who.startswith("go-")), None)
        for who, values in contenders.items() if theirs else ():
            ratio = median(contenders[theirs]) / median(values)
            ratio = f"{ratio:.2f}x" if who != theirs else ""
            range_text = f"{ns(min(values))}–{ns(max(values))}"
            lines.append([f"`{case}`", f"`{who}`", ns(median(values)), range_text, ratio])
    return grid(["case", "contender", "ns/op", "from–to", "Go takes"], lines)


def instructions_table(records):
    (record,) = records
    line = lambda row: [f"`{row['case']}`", row["instructions_per_op"], row["limit"]]
    return grid(["case", "instructions", "limit"], list(map(line, record.rows)))


def plot_table(records):
    """The picture that scripts/plot draws from this record."""
    (record,) = records
    path = Path(record.path)
    drawing = path.parent / "plots" / f"{path.stem}.svg"
    if not (ROOT / drawing).exists():
        raise RecordError(f"{drawing} is missing; run scripts/plot {path}")
    return [f"![{path.stem}]({drawing})"]


def machine_table(records):
    (record,) = records
    keys = ["cpu", "cpus", "virtual", "caches", "memory", "thp", "kernel", "rustc"]
    return grid(["machine", ""], [[key, record.get(key, "unknown")] for key in keys])


TABLES = {
    "case": case_table,
    "cases": cases_table,
    "pools": pools_table,
    "sizes": sizes_table,
    "pretouch": pretouch_table,
    "steps": steps_table,
    "window": window_table,
    "load": load_table,
    "lanes": lanes_table,
    "rivals-ahead": targets.ahead_table,
    "ranks": targets.ranks_table,
    "targets": targets.targets_table,
    "instruction-targets": targets.instruction_targets_table,
    "objects": objects_table,
    "object-targets": targets.object_targets_table,
    "downloads": downloads_table,
    "downloads-beside": downloads_beside_table,
    "download-targets": targets.download_targets_table,
    "pace": pace_table,
    "go": go_table,
    "machine": machine_table,
    "instructions": instructions_table,
    "plot": plot_table,
}
