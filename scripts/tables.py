"""The tables of PERFORMANCE.md, each a function from records to lines of Markdown. `scripts/update-performance-md` puts them there.

A figure here is a median of interleaved repeats; `spread` is the distance of the quartiles, or from fastest to slowest where a record has no quartiles.
A ratio always comes from one record, which is one run.
"""

import re
from pathlib import Path
from statistics import median

from records import ROOT, RecordError, size_bytes, size_text

# What ours is to be among the contenders of a run: group, what, case, whose, the worst place.
TARGETS = [
    ("ring", "8 bytes touched, 1-8 vectors of 16, 1024 slots, fitting pool", "touch8-mix-16x1024-fit", "slipring", 1),
    ("ring", "the same, a slice a slot", "touch8-mix-16x1024-fit", "slipring-raii", 3),
    ("ring", "the same, pool of 2 GiB", "touch8-mix-16x1024-2GiB", "slipring", 1),
    ("ring", "the same, a slice a slot", "touch8-mix-16x1024-2GiB", "slipring-raii", 3),
    ("ring", "4 KiB written, pool of 2 GiB", "write-4KiB-2GiB", "slipring", 3),
    ("ring", "releases in random order, pool of 4 MiB", "touch8-random-order", "slipring", 2),
    ("ring", "two threads, 512 B, batch 1", "two-512B-b1", "slipring", 2),
    ("ring", "two threads, 512 B, batch 64", "two-512B-b64", "slipring", 1),
    ("class", "get + drop, one thread, 4 KiB class", "get-drop-4KiB-1t", "slipring", 3),
    ("class", "get + drop, two threads with buffers of their own", "get-drop-4KiB-2t", "slipring", 3),
    ("class", "one thread gets, another drops, 64 KiB", "cross-drop-64KiB", "slipring", 1),
    ("queue", "enqueue + dequeue + done, two threads, 512 B", "queue-512B", "slipring", 1),
    ("queue", "the same, 32 KiB", "queue-32KiB", "slipring", 1),
]
# What, case, the case that is taken off, the most instructions.
INSTRUCTION_TARGETS = [
    ("an allocation and its release, slot path", "slots.mix", None, 30),
    ("an allocation and its release, a slice a slot", "raii.mix", None, 30),
    ("an event of a lane with an inline stage, batch 1", "lane.b1", None, 280),
    ("the same, batch 8", "lane.b8", None, 115),
    ("the same, batch 64", "lane.b64", None, 88),
    ("an event of a lane and a stage with a thread, both sides, batch 1", "stage.b1", None, 280),
    ("the same, batch 64", "stage.b64", None, 90),
    ("get + drop of a class buffer", "class.b4k", None, 88),
    ("in and out of a queue, the buffer's own left out", "stream.b512", "class.b4k", 110),
    ("a request of the service, one vector", "request.v1", None, 1000),
    ("the same, 8 vectors", "request.v8", None, 3000),
]
# Figure, its column, whose, beside whom, relation, limit, what the seed's authors expected of such a pool.
OBJECT_TARGETS = [
    ("throughput", "bytes_per_second", "slipring", "object_store", ">=", 1.05, "1.06x to 1.10x"),
    ("processor seconds of the client", "cpu_seconds", "slipring", "object_store", "<=", 0.95, "0.80x (15 to 12 %)"),
    ("peak resident memory", "peak_rss_bytes", "slipring", "object_store", "<=", 0.7, "0.71x (3.5 to 2.5 GB)"),
    ("large allocations, after the warm-up", "large_allocations", "slipring", "object_store", "<=", 0.02, "0.016x (32,000 to 500 a minute)"),
    ("large allocations, with the warm-up", "large_allocations_total", "slipring", "object_store", "<=", 0.02, ""),
    ("page faults an object, after the warm-up", "faults_per_object", "slipring", "slipring-unpooled", "<=", 0.01, ""),
]
SIZES_CONTENDERS = ["slipring", "slipring-raii", "free-list", "bump-two-arenas", "mimalloc", "jemalloc", "glibc", "seed-arc"]
POOL_CONTENDERS = ["slipring", "slipring-raii", "free-list", "bump-two-arenas", "jemalloc", "seed-arc"]


def number(row, column="ns_per_op"):
    try:
        return float(row[column])
    except (KeyError, ValueError) as error:
        raise RecordError(f"{row.get('case')} of {row.get('contender')} has no number in {column}") from error


def find(record, case, contender):
    return next((row for row in record.rows if row.get("case") == case and row.get("contender") == contender), None)


def ns(value):
    """Three digits, which is more than repeats agree in."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def spread(row):
    low, high = ("ns_q1", "ns_q3") if row.get("ns_q1") else ("ns_min", "ns_max")
    return f"{ns(number(row, low))}–{ns(number(row, high))}" if row.get(high) else f"from {ns(number(row, low))}"


def name(row):
    return f"`{row['contender']}`" + (" *" if row.get("emulated") else "")


def grid(head, rows):
    """A Markdown table; columns of figures are flush right."""
    figure = re.compile(r"([-+≥≤]?\d.*|from \d.*|no room|not recorded)?$")
    lined_up = ["---:" if at and all(figure.match(str(row[at])) for row in rows) else "---" for at in range(len(head))]
    return ["| " + " | ".join(map(str, line)) + " |" for line in [head, lined_up, *rows]]


def emulations(rows):
    reasons = sorted({(row["contender"], row["emulated"]) for row in rows if row.get("emulated")})
    return ["", "\\* emulated: " + "; ".join(f"`{who}`" + ("" if why == "yes" else f" ({why})") for who, why in reasons) + "."] if reasons else []


def case_table(records, case):
    """One case, all contenders, fastest first."""
    (record,) = records
    rows = sorted((row for row in record.rows if row.get("case") == case), key=number)
    if not rows:
        raise RecordError(f"{record.path} has no case {case}")
    seed = find(record, case, "seed-arc")
    head = ["contender", "ns/op", "spread", "memory"] + (["`seed-arc` is"] if seed else [])
    lines = []
    for row in rows:
        memory = f"{int(row['memory_bytes']) / (1 << 20):,.1f} MiB" if row.get("memory_bytes") else ""
        lines.append([name(row), ns(number(row)), spread(row), memory] + ([f"{number(seed) / number(row):.1f}x"] if seed else []))
    return grid(head, lines) + emulations(rows)


def cases_table(records, *cases):
    """Several cases side by side, medians only, in the order of the first."""
    (record,) = records
    by_case = [{row["contender"]: row for row in record.rows if row.get("case") == case} for case in cases]
    missing = [case for case, rows in zip(cases, by_case) if not rows]
    if missing:
        raise RecordError(f"{record.path} has no case {', '.join(missing)}")
    contenders = sorted({who for rows in by_case for who in rows}, key=lambda who: [number(rows[who]) if who in rows else 1e9 for rows in by_case])
    cell = lambda rows, who: ns(number(rows[who])) + (" *" if rows[who].get("emulated") else "") if who in rows else ""
    lines = [[f"`{who}`", *(cell(rows, who) for rows in by_case)] for who in contenders]
    return grid(["contender", *(f"`{case}`" for case in cases)], lines) + emulations([row for rows in by_case for row in rows.values()])


def pool_bytes(row):
    """Of a case whose name says it (`...-64KiB`), or whose plan does; None for one that has no pool of its own."""
    named = re.search(r"-(\d+(?:KiB|MiB|GiB))$", row.get("case", ""))
    return int(row["pool_bytes"]) if row.get("pool_bytes") else size_bytes(named[1]) if named else None


def beside(rows, shown, missing):
    """The contenders' figures of one line, and how much faster the slot path is than the seed's design."""
    both = "slipring" in rows and "seed-arc" in rows
    ratio = f"{number(rows['seed-arc']) / number(rows['slipring']):.1f}x" if both else ""
    return [*(ns(number(rows[who])) if who in rows else missing for who in shown), ratio]


def pools_table(records):
    """A line a pool size; the last column is how much faster the slot path is than the seed's design."""
    (record,) = records
    sizes = {}
    for row in record.rows:
        if pool_bytes(row):
            sizes.setdefault(pool_bytes(row), {})[row["contender"]] = row
    if not sizes:
        raise RecordError(f"{record.path} has no pool sizes")
    shown = [who for who in POOL_CONTENDERS if any(who in rows for rows in sizes.values())]
    lines = []
    for size, rows in sorted(sizes.items()):
        entries = [next((row["slots"] for row in rows.values()), "")] if "slots" in record.rows[0] else []
        lines.append([size_text(size), *entries, *beside(rows, shown, "no room")])
    return grid(["pool", *(["entries"] if "slots" in record.rows[0] else []), *(f"`{who}`" for who in shown), "ratio"], lines)


def sizes_table(records):
    """A line an allocation size; the last column is how much faster the slot path is than the seed's design."""
    (record,) = records
    sizes = {}
    for row in record.rows:
        if named := re.fullmatch(r"touch8-(\d+)v-128x1024-fit", row["case"]):
            sizes.setdefault(int(named[1]), {})[row["contender"]] = row
    if not sizes:
        raise RecordError(f"{record.path} has no allocation sizes")
    shown = [who for who in SIZES_CONTENDERS if any(who in rows for rows in sizes.values())]
    lines = [[vectors, size_text(vectors * 512), *beside(rows, shown, "")] for vectors, rows in sorted(sizes.items())]
    return grid(["vectors", "bytes", *(f"`{who}`" for who in shown), "ratio"], lines)


def pretouch_table(records, moment):
    """A line a pool, for one moment (`map`, `first` or `steady`); the last columns are what an untouched pool costs beside the same one touched, on small pages and on huge ones."""
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
            pair = [rows.get(f"seed-arc{pages}-{state}") for state in ("untouched", "touched")]
            ratios.append(f"{number(pair[0]) / number(pair[1]):.2f}x" if all(pair) else "")
        lines.append([size_text(size), *(ns(number(rows[who])) if who in rows else "" for who in shown), *ratios])
    return grid(["pool", *(f"`{who}`" for who in shown), "untouched / touched, 4 KiB", "the same, huge"], lines)


def steps_table(records, *contenders):
    """One case, contenders in the order given, and what each adds to the one before it."""
    (record,) = records
    rows = [next((row for row in record.rows if row["contender"] == who), None) for who in contenders]
    if None in rows:
        raise RecordError(f"{record.path} has no {contenders[rows.index(None)]}")
    added = ["", *(f"{number(row) - number(before):+.2f}" for before, row in zip(rows, rows[1:]))]
    return grid(["rung", "ns/op", "spread", "adds"], [[name(row), ns(number(row)), spread(row), more] for row, more in zip(rows, added)])


def window_table(records):
    (record,) = records
    best, default = record.get("best_window_bytes"), record.get("default_window_bytes")
    lines = []
    for row in record.rows:
        marks = [text for text, value in (("best", best), ("default", default)) if value == row["window_bytes"]]
        spread_text = f"{ns(number(row, 'ns_min'))}–{ns(number(row, 'ns_max'))}"
        lines.append([size_text(int(row["window_bytes"])), ns(number(row, "ns_per_event")), spread_text, ", ".join(marks)])
    return grid(["window", "ns/event", "fastest–slowest", ""], lines)


def load_table(records):
    """Serve beside the bare loop: medians over repeats of each percentile and rate."""
    (record,) = records
    columns = ["p50_us", "p99_us", "p99.9_us", "p99.99_us"]
    lines = []
    for case in dict.fromkeys(row["case"] for row in record.rows):
        for who in dict.fromkeys(row["contender"] for row in record.rows):
            rows = [row for row in record.rows if (row["case"], row["contender"]) == (case, who)]
            if rows:
                middle = lambda column: median(number(row, column) for row in rows)
                lines.append([f"`{case}`", f"`{who}`", f"{middle('vectors_per_s'):,.0f}", *(f"{middle(column):,.1f}" for column in columns)])
    return grid(["shape", "server", "vectors/s", "p50 us", "p99 us", "p99.9 us", "p99.99 us"], lines)


def lanes_table(records):
    (record,) = records
    lines = [
        [f"`{row['case']}`", row["lanes"], row["cpus_used"], ns(number(row)), spread(row), ns(number(row, "ns_total")), f"{number(row, 'scaling'):.2f}x"]
        for row in record.rows
    ]
    skipped = ["", *(f"Not run: {text}." for text in record.all("skipped"))] if record.all("skipped") else []
    return grid(["case", "lanes", "CPUs", "ns/event of a lane", "spread", "ns/event of all", "events of one lane"], lines) + skipped


def ahead_table(records):
    """Every case in which a rival that isn't emulated is faster than our slot path: the fastest one, how many there are, the worst case first."""
    (record,) = records
    found = []
    for case in dict.fromkeys(row["case"] for row in record.rows):
        ours = find(record, case, "slipring")
        ahead = [row for row in rivals_of(record, case) if ours and number(row) < number(ours)]
        if ahead:
            best = min(ahead, key=number)
            found.append((number(ours) / number(best), [f"`{case}`", name(best), len(ahead), ns(number(best)), ns(number(ours))]))
    if not found:
        return ["No rival is faster than the slot path in any case of this record."]
    found.sort(key=lambda entry: -entry[0])
    return grid(["case", "fastest rival", "rivals ahead", "its ns/op", "ours", "ours / its"], [[*cells, f"{ratio:.2f}"] for ratio, cells in found])


def rivals_of(record, case):
    """Who stands in a ranking beside ours: emulated ones don't, nor our own variants."""
    is_rival = lambda row: not row["contender"].startswith(("slipring", "empty", "ladder")) and not row.get("emulated")
    return [row for row in record.rows if row["case"] == case and is_rival(row)]


def rank_of(record, case, who):
    """(place, of how many), or None where it isn't recorded."""
    ours, rivals = find(record, case, who), rivals_of(record, case)
    if not ours or not rivals:
        return None
    return sum(number(row) < number(ours) for row in rivals) + 1, len(rivals) + 1


def machine_of(record):
    return Path(record.path).parent.name


def ranks_table(records):
    """Of each case that all records have: ours among the contenders, by machine, and the fastest of the others beside it."""
    if len(records) < 2:
        raise RecordError("ranks are of two machines at least")
    cells = lambda case: [of_machine(record, case) for record in records]

    def of_machine(record, case):
        rank = rank_of(record, case, "slipring")
        if not rank:
            return None
        ours, best = number(find(record, case, "slipring")), min(rivals_of(record, case), key=number)
        return [f"{ns(ours)} ns, {rank[0]} of {rank[1]}", f"{name(best)} {number(best) / ours:.2f}x"]

    lines = [[f"`{case}`", *sum(of_all, [])] for case in cases_of(records[0]) if all(of_all := cells(case))]
    if not lines:
        raise RecordError("the records have no case in common")
    machines = map(machine_of, records)
    return grid(["case", *sum(([f"{machine}: ours", "its fastest rival takes"] for machine in machines), [])], lines)


def targets_table(records, group):
    """Ours among the contenders, machine by machine, and the place that it is to have."""

    def verdict(record, case, who, worst):
        rank = rank_of(record, case, who)
        if not rank:
            return "not recorded"
        place = f"{rank[0]} of {rank[1]}"
        return f"{place}, met" if rank[0] <= worst else f"{place}, **missed**"

    shown = [target for target in TARGETS if target[0] == group]
    if not shown:
        raise RecordError(f"no targets are named {group}")
    place = lambda worst: "first" if worst == 1 else f"{worst} or better"
    lines = [
        [what, f"`{case}`", f"`{who}`", place(worst), *(verdict(record, case, who, worst) for record in records)]
        for _, what, case, who, worst in shown
    ]
    return grid(["what", "case", "ours", "target", *map(machine_of, records)], lines)


def instruction_targets_table(records):
    (record,) = records
    counted = {row["case"]: number(row, "instructions_per_op") for row in record.rows}
    lines = []
    for what, case, without, most in INSTRUCTION_TARGETS:
        if not {case, without or case} <= counted.keys():
            lines.append([what, f"≤ {most:,}", "not recorded", ""])
            continue
        count = counted[case] - (counted[without] if without else 0)
        lines.append([what, f"≤ {most:,}", f"{count:,.1f}", "met" if count <= most else "**missed**"])
    return grid(["instructions of", "target", "counted", ""], lines)


def cases_of(record):
    return list(dict.fromkeys(row["case"] for row in record.rows))


def object_targets_table(records):
    """A line a target, a column a case: one's figure / the other's."""
    (record,) = records
    cases, lines = cases_of(record), []
    for what, column, who, beside, relation, limit, expected in OBJECT_TARGETS:
        cells = []
        for case in cases:
            ours, theirs = find(record, case, who), find(record, case, beside)
            if not (ours and theirs and number(theirs, column)):
                cells.append("")
                continue
            ratio = number(ours, column) / number(theirs, column)
            met = ratio >= limit if relation == ">=" else ratio <= limit
            # A third digit where two would show the limit itself and not say which side.
            shown = f"{ratio:.3f}x" if limit < 0.1 or abs(ratio - limit) < 0.005 else f"{ratio:.2f}x"
            cells.append(shown if met else f"**{shown}**")
        lines.append([what, f"`{who}` / `{beside}`", f"{'≥' if relation == '>=' else '≤'} {limit:g}x", expected, *cells])
    return grid(["figure", "whose", "target", "the seed expected", *(f"`{case}`" for case in cases)], lines)


def objects_table(records):
    """A line a contender and case: medians of everything that was counted."""
    (record,) = records
    mib = lambda row, column: f"{number(row, column) / (1 << 20):,.0f}"
    lines = []
    for case in cases_of(record):
        for row in (row for row in record.rows if row["case"] == case):
            rate = lambda column: f"{number(row, 'object_bytes') / number(row, column) * 1e3:,.0f}"
            server = f"{number(row, 'server_cpu_seconds'):.2f}" if row.get("server_cpu_seconds") else ""
            large = f"{number(row, 'large_allocations_total'):.0f}, {number(row, 'large_allocations'):.0f}"
            memory = [mib(row, "warm_peak_rss_bytes"), mib(row, "peak_rss_bytes")]
            cells = [rate("ns_per_op"), f"{rate('ns_q3')}–{rate('ns_q1')}", f"{number(row, 'cpu_seconds'):.2f}", server, *memory, large]
            lines.append([f"`{case}`", name(row), *cells, f"{number(row, 'faults_per_object'):,.0f}"])
    head = ["case", "contender", "MB/s", "spread", "CPU s", "server's", "peak MiB, warm-up", "in all", "large, of them measured", "faults"]
    return grid(head, lines)


def pace_table(records):
    """A line a case, a column a setting: MiB a second, objects that failed, else requests made again; the last column is the default beside the best fixed setting."""
    (record,) = records
    settings = list(dict.fromkeys(row["contender"] for row in record.rows))
    fixed = [who for who in settings if who != "default" and "auto" not in who]
    lines = []
    for case in cases_of(record):
        rows = {who: find(record, case, who) for who in settings}
        rates = {who: number(row, "bytes_per_second") / (1 << 20) for who, row in rows.items() if row}
        counted = lambda who, column, word: f" ({count:.0f} {word})" if (count := number(rows[who], column)) else ""
        failed = lambda who: counted(who, "failed", "failed")
        cells = [f"{rates[who]:,.0f}{failed(who) or counted(who, 'retries', 'again')}" if who in rates else "" for who in settings]
        # One that loses objects is no setting to be held against.
        best = max((rates[who] for who in fixed if who in rates and not failed(who)), default=0)
        lines.append([f"`{case}`", *cells, f"{rates['default'] / best:.2f}x" if best and "default" in rates else ""])
    return grid(["case", *(f"`{who}`" for who in settings), "default / best fixed"], lines)


def go_table(records):
    """Both programs of scripts/go-compare: medians over the rounds, and how much faster ours is than theirs, which comes first in a case."""
    (record,) = records
    cases = {}
    for row in record.rows:
        cases.setdefault(row["case"], {}).setdefault(row["contender"], []).append(number(row))
    lines = []
    for case, contenders in cases.items():
        theirs = next((who for who in contenders if who.startswith("go-")), None)
        for who, values in contenders.items() if theirs else ():
            ratio = f"{median(contenders[theirs]) / median(values):.2f}x" if who != theirs else ""
            lines.append([f"`{case}`", f"`{who}`", ns(median(values)), f"{ns(min(values))}–{ns(max(values))}", ratio])
    return grid(["case", "contender", "ns/op", "from–to", "Go's is"], lines)


def instructions_table(records):
    (record,) = records
    return grid(["case", "instructions", "limit"], [[f"`{row['case']}`", row["instructions_per_op"], row["limit"]] for row in record.rows])


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
    "rivals-ahead": ahead_table,
    "ranks": ranks_table,
    "targets": targets_table,
    "instruction-targets": instruction_targets_table,
    "objects": objects_table,
    "object-targets": object_targets_table,
    "pace": pace_table,
    "go": go_table,
    "machine": machine_table,
    "instructions": instructions_table,
    "plot": plot_table,
}


def figure_of(record, case, contender, column):
    """The median over the rounds of a record; most have one."""
    rows = [row for row in record.rows if row.get("case") == case and row.get("contender") == contender]
    if not rows:
        raise RecordError(f"{record.path} has no {case} of {contender}")
    return median(number(row, column) for row in rows)


def value(records, kind, *words):
    """One figure in a sentence: `ns CASE CONTENDER`, `ratio CASE ABOVE BELOW`, `ratio-of COLUMN CASE ABOVE BELOW`, or `best-window`."""
    if kind == "best-window":
        return size_text(int(records[0].get("best_window_bytes", "0")))
    column = "ns_per_op"
    if kind == "ratio-of":
        column, *words = words
    case, *contenders = words
    figures = [figure_of(records[0], case, who, column) for who in contenders]
    if kind == "ns" and len(figures) == 1:
        return f"{ns(figures[0])} ns"
    if kind in ("ratio", "ratio-of") and len(figures) == 2:
        return f"{figures[0] / figures[1]:.2f}x"
    raise RecordError(f"a value is `ns CASE CONTENDER`, `ratio CASE ABOVE BELOW`, `ratio-of COLUMN CASE ABOVE BELOW` or `best-window`, not {kind} {' '.join(words)}")
