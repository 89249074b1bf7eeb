"""Figures of a record, and how they are written on a page.

A figure is a median of interleaved repeats. `spread` is the distance of the quartiles, or from
fastest to slowest where a record has no quartiles. A ratio always comes from one record, which is
one run.
"""

import re
from pathlib import Path
from statistics import median

from report.records import RecordError, size_bytes, size_text


def number(row, column="ns_per_op"):
    try:
        return float(row[column])
    except (KeyError, ValueError) as error:
        what = f"{row.get('case')} of {row.get('contender')}"
        raise RecordError(f"{what} has no number in {column}") from error


def find(record, case, contender):
    is_it = lambda row: row.get("case") == case and row.get("contender") == contender
    return next(filter(is_it, record.rows), None)


def cases_of(record):
    return list(dict.fromkeys(row["case"] for row in record.rows))


def machine_of(record):
    return Path(record.path).parent.name


def pool_bytes(row):
    """The pool of a case, from its name (`...-64KiB`) or its plan; None if it has no pool."""
    if row.get("pool_bytes"):
        return int(row["pool_bytes"])
    named = re.search(r"-(\d+(?:KiB|MiB|GiB))$", row.get("case", ""))
    return size_bytes(named[1]) if named else None


def ns(value):
    """Three digits, which is more than repeats agree in."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def spread(row):
    low, high = ("ns_q1", "ns_q3") if row.get("ns_q1") else ("ns_min", "ns_max")
    if not row.get(high):
        return f"from {ns(number(row, low))}"
    return f"{ns(number(row, low))}–{ns(number(row, high))}"


def name(row):
    return f"`{row['contender']}`" + (" *" if row.get("emulated") else "")


def grid(head, rows):
    """A Markdown table; columns of figures are flush right."""
    figure = re.compile(r"([-+≥≤]?\d.*|from \d.*|no room|not recorded)?$")
    is_figures = lambda at: at and all(figure.match(str(row[at])) for row in rows)
    alignment = ["---:" if is_figures(at) else "---" for at in range(len(head))]
    return ["| " + " | ".join(map(str, line)) + " |" for line in [head, alignment, *rows]]


def emulations(rows):
    """The note below a table about the contenders that are emulated, and why."""
    reasons = sorted({(row["contender"], row["emulated"]) for row in rows if row.get("emulated")})
    text = lambda who, why: f"`{who}`" + ("" if why == "yes" else f" ({why})")
    notes = "; ".join(text(who, why) for who, why in reasons)
    return ["", f"\\* emulated: {notes}."] if reasons else []


def figure_of(record, case, contender, column):
    """The median over the rounds of a record; most records have one round."""
    is_it = lambda row: row.get("case") == case and row.get("contender") == contender
    rows = list(filter(is_it, record.rows))
    if not rows:
        raise RecordError(f"{record.path} has no {case} of {contender}")
    return median(number(row, column) for row in rows)


def ranking(record, column, case):
    """The contenders of a case, the one with the smallest figure first."""
    found = dict.fromkeys(row["contender"] for row in record.rows if row["case"] == case)
    return sorted(found, key=lambda who: figure_of(record, case, who, column))


VALUES = "`ns CASE CONTENDER`, `ratio CASE ABOVE BELOW`, `ratio-of COLUMN CASE ABOVE BELOW`"
VALUES += ", `least COLUMN CASE`, `most COLUMN CASE`"


def value(records, kind, *words):
    """One figure or name in a sentence: one of VALUES, or `best-window`."""
    if kind == "best-window":
        return size_text(int(records[0].get("best_window_bytes", "0")))
    if kind in ("least", "most") and len(words) == 2:
        ranked = ranking(records[0], *words)
        if not ranked:
            raise RecordError(f"{records[0].path} has no case {words[1]}")
        return f"`{ranked[0 if kind == 'least' else -1]}`"
    column, given = "ns_per_op", words
    if kind == "ratio-of" and words:
        column, *words = words
    case, contenders = "".join(words[:1]), words[1:]
    figures = [figure_of(records[0], case, who, column) for who in contenders]
    if kind == "ns" and len(figures) == 1:
        return f"{ns(figures[0])} ns"
    if kind in ("ratio", "ratio-of") and len(figures) == 2:
        return f"{figures[0] / figures[1]:.2f}x"
    raise RecordError(f"a value is {VALUES} or `best-window`, not {kind} {' '.join(given)}")
