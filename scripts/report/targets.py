"""Rankings of ours among its rivals, and the tables that compare records with targets.toml."""

import tomllib
from pathlib import Path

from report.figures import cases_of, figure_of, find, grid, machine_of, name, ns, number
from report.records import RecordError

TARGETS = tomllib.loads((Path(__file__).parent / "targets.toml").read_text())


def rivals_of(record, case):
    """The rivals in the ranking of a case: no emulated ones, and no variants of ours."""
    ours = ("slipring", "empty", "ladder")
    is_rival = lambda row: not row["contender"].startswith(ours) and not row.get("emulated")
    return [row for row in record.rows if row["case"] == case and is_rival(row)]


def rank_of(record, case, who):
    """(place, of how many), or None if it isn't recorded."""
    ours, rivals = find(record, case, who), rivals_of(record, case)
    if not ours or not rivals:
        return None
    return sum(number(row) < number(ours) for row in rivals) + 1, len(rivals) + 1


def ahead_table(records):
    """Every case in which a rival that isn't emulated is faster than our slot path: the fastest
    rival and their number, the worst case first."""
    (record,) = records
    found = []
    for case in cases_of(record):
        ours = find(record, case, "slipring")
        ahead = [row for row in rivals_of(record, case) if ours and number(row) < number(ours)]
        if ahead:
            best = min(ahead, key=number)
            cells = [f"`{case}`", name(best), len(ahead), ns(number(best)), ns(number(ours))]
            found.append((number(ours) / number(best), cells))
    if not found:
        return ["No rival is faster than the slot path in any case of this record."]
    found.sort(key=lambda entry: -entry[0])
    head = ["case", "fastest rival", "rivals ahead", "its ns/op", "ours", "ours / its"]
    return grid(head, [[*cells, f"{ratio:.2f}"] for ratio, cells in found])


def ranks_table(records):
    """Of each case that all records have: the place of ours on each machine, and its fastest
    rival."""
    if len(records) < 2:
        raise RecordError("ranks are of at least two machines")

    def of_machine(record, case):
        rank = rank_of(record, case, "slipring")
        if not rank:
            return None
        ours = number(find(record, case, "slipring"))
        best = min(rivals_of(record, case), key=number)
        place = f"{ns(ours)} ns, {rank[0]} of {rank[1]}"
        return [place, f"{name(best)} {number(best) / ours:.2f}x"]

    lines = []
    for case in cases_of(records[0]):
        cells = [of_machine(record, case) for record in records]
        if all(cells):
            lines.append([f"`{case}`", *sum(cells, [])])
    if not lines:
        raise RecordError("the records have no case in common")
    head = [[f"{machine}: ours", "its fastest rival takes"] for machine in map(machine_of, records)]
    return grid(["case", *sum(head, [])], lines)


def targets_table(records, group):
    """The place that ours has among the contenders on each machine, and the place of the target."""

    def verdict(record, target):
        rank = rank_of(record, target["case"], target["contender"])
        if not rank:
            return "not recorded"
        place = f"{rank[0]} of {rank[1]}"
        return f"{place}, met" if rank[0] <= target["worst"] else f"{place}, **missed**"

    shown = [target for target in TARGETS["place"] if target["group"] == group]
    if not shown:
        raise RecordError(f"no targets are named {group}")
    lines = []
    for target in shown:
        worst = target["worst"]
        place = "first" if worst == 1 else f"{worst} or better"
        cells = [target["what"], f"`{target['case']}`", f"`{target['contender']}`", place]
        lines.append([*cells, *(verdict(record, target) for record in records)])
    return grid(["what", "case", "ours", "target", *map(machine_of, records)], lines)


def instruction_targets_table(records):
    (record,) = records
    counted = {row["case"]: number(row, "instructions_per_op") for row in record.rows}
    lines = []
    for target in TARGETS["instructions"]:
        case, without, most = target["case"], target.get("without"), target["most"]
        if not {case, without or case} <= counted.keys():
            lines.append([target["what"], f"≤ {most:,}", "not recorded", ""])
            continue
        count = counted[case] - (counted[without] if without else 0)
        met = "met" if count <= most else "**missed**"
        lines.append([target["what"], f"≤ {most:,}", f"{count:,.1f}", met])
    return grid(["instructions of", "target", "counted", ""], lines)


def ratio_cell(record, case, target):
    """One's figure divided by the other's, in bold if it misses the target; empty if unrecorded."""
    both = [target[who] for who in ("contender", "beside")]
    if not all(find(record, case, who) for who in both):
        return ""
    ours, theirs = (figure_of(record, case, who, target["column"]) for who in both)
    if not theirs:
        return ""
    ratio, limit = ours / theirs, target.get("at_least", target.get("at_most"))
    met = ratio >= limit if "at_least" in target else ratio <= limit
    # A third digit where two would show the limit itself and not on which side of it.
    shown = f"{ratio:.3f}x" if limit < 0.1 or abs(ratio - limit) < 0.005 else f"{ratio:.2f}x"
    return shown if met else f"**{shown}**"


def bound_of(target):
    if "most_mib" in target:
        return f"≤ {target['most_mib']} MiB"
    return f"≥ {target['at_least']:g}x" if "at_least" in target else f"≤ {target['at_most']:g}x"


def memory_cell(record, case, target):
    """The MiB of a column of KiB, in bold if they are too many; empty if unrecorded."""
    who = target["contender"]
    if not find(record, case, who):
        return ""
    mib = figure_of(record, case, who, target["column"]) / 1024
    return f"{mib:,.0f} MiB" if mib <= target["most_mib"] else f"**{mib:,.0f} MiB**"


def ratio_targets_table(records, family):
    """One line per target of a family, one column per case: ratios, or MiB. What was expected
    beforehand has a column if any target has it."""
    (record,) = records
    cases, lines = cases_of(record), []
    expects = any("expected" in target for target in TARGETS[family])
    for target in TARGETS[family]:
        whose, cell = f"`{target['contender']}`", memory_cell
        if "beside" in target:
            whose, cell = f"{whose} / `{target['beside']}`", ratio_cell
        expected = [target.get("expected", "")] if expects else []
        cells = [cell(record, case, target) for case in cases]
        lines.append([target["figure"], whose, bound_of(target), *expected, *cells])
    head = ["figure", "whose", "target", *(["expected beforehand"] if expects else [])]
    return grid([*head, *(f"`{case}`" for case in cases)], lines)


def object_targets_table(records):
    return ratio_targets_table(records, "objects")


def download_targets_table(records):
    return ratio_targets_table(records, "downloads")
