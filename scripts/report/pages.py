"""The tables and figures of a page, which stand between markers and come from the records.

A table has the command that made its record below it. A figure in a sentence is on one line:

    <!-- table: case touch8-mix-16x1024-fit from benches/record/HOST/ring.csv -->
    ...
    <!-- end -->
    ... <!-- value: ratio CASE arc-ring slipring from benches/record/HOST/ring.csv -->9x<!-- end -->

Several records may be named, separated by spaces. If none of them has been recorded yet, the place
says so.
"""

import difflib
import functools
import os
import re
from pathlib import Path

from report.figures import value
from report.records import RecordError, new_case, new_contender, read_record
from report.tables import TABLES

MARKER = re.compile(r"<!-- (table|value): ([^>]+?) from ([^>]+?) -->(.*?)<!-- end -->", re.S)
# What makes a record, where it isn't scripts/record.
MAKERS = {"lanes": "scripts/many-cores"}
DIGIT = re.compile(r"\d")
# A link to a record or its plot, from the repository's root.
LINK = re.compile(r"\]\((benches/record/[^)]+)\)")


@functools.cache
def read(root, path):
    record = read_record(root / path)
    record.path = path
    return record


def provenance(record):
    changed = " with changes" if record.get("dirty") == "yes" else ""
    path = Path(record.path)
    commands = " and ".join(f"`{command}`" for command in record.all("command"))
    origin = f"commit {record.get('commit')[:7]}{changed}, {record.get('date')}"
    return f"[{path.name}]({path}): {commands}; {origin}."


def filled(kind, words, paths, root):
    """The text between one pair of markers. A page may use the old names of a record too."""
    there = [read(root, path) for path in paths if (root / path).exists()]
    if not there:
        family = Path(paths[0]).stem
        maker = f"`{MAKERS.get(family, f'scripts/record {family}')}` on an idle machine"
        missing = f"\nNot recorded yet: {maker} makes {', '.join(paths)}.\n"
        return "(not recorded)" if kind == "value" else missing
    words = [new_case(new_contender(word)) for word in words]
    if kind == "value":
        return value(there, *words)
    if words[0] not in TABLES:
        raise RecordError(f"no table is named {words[0]}; there are {', '.join(TABLES)}")
    lines = TABLES[words[0]](there, *words[1:])
    return "\n".join(["", *lines, "", *map(provenance, there), ""])


def updated(text, root, folder="."):
    """The text with every marked place filled; links lead from `folder`, where the page is."""
    opened, closed = len(re.findall(r"<!-- (?:table|value):", text)), text.count("<!-- end -->")
    matched = list(MARKER.finditer(text))
    if not opened == closed == len(matched) or any("<!--" in found[4] for found in matched):
        rule = "each needs `... from RECORD -->` and one `<!-- end -->` after it"
        raise RecordError(f"{opened} markers are opened and {closed} closed: {rule}")

    def fill(found):
        kind, words, paths = found[1], found[2].split(), found[3].split()
        try:
            content = filled(kind, words, paths, root)
        except (RecordError, TypeError) as error:
            raise RecordError(f"{kind} {found[2]}: {error}") from error
        content = LINK.sub(lambda link: f"]({os.path.relpath(link[1], folder)})", content)
        return f"<!-- {kind}: {found[2]} from {found[3]} -->{content}<!-- end -->"

    return MARKER.sub(fill, text)


def complaint(text, root, folder="."):
    """A diff if the text differs from the records, else the empty string."""
    lines = text.splitlines(), updated(text, root, folder).splitlines()
    names = "the page", "the records"
    return "\n".join(difflib.unified_diff(*lines, *names, lineterm="", n=1))


def changed_digits(text):
    """Copies of the text, each with one digit changed: one in the middle of every filled place."""
    for found in MARKER.finditer(text):
        digits = list(DIGIT.finditer(text, found.start(4), found.end(4)))
        if digits:
            at = digits[len(digits) // 2].start()
            yield text[:at] + str((int(text[at]) + 1) % 10) + text[at + 1 :]


def check(path, root):
    """The exit status of a check of one page; a changed digit that goes unnoticed fails it too."""
    text, folder = path.read_text(), path.parent.relative_to(root)
    problem = complaint(text, root, folder)
    if problem:
        command = "run scripts/update-performance-md"
        print(f"{problem}\nerror: {path.name} differs from its records; {command}")
        return 1
    changed = list(changed_digits(text))
    unseen = sum(not complaint(other, root, folder) for other in changed)
    if unseen:
        print(f"error: {unseen} of {len(changed)} changed digits went unnoticed")
        return 1
    count = len(MARKER.findall(text))
    noticed = f"{len(changed)} changed digits were noticed"
    print(f"{count} tables and figures match the records; {noticed}")
    return 0
