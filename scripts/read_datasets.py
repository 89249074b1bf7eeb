"""Opens a data folder as README says: read_datasets.py README PROGRAM COLUMNS.

PROGRAM is the example write_segments. It writes `vectors` in the current folder and keeps a segment
open there while the blocks of Python in README's sections "Open the data" and "Look at the log" run,
each as it is. Fails unless those of the first find every row of every complete segment, under its
lane, and those of the second also the row of the live one. `slipring` must be on the path.
"""

import contextlib
import io
import pathlib
import re
import subprocess
import sys

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds

SECTION = re.compile(r"^### Open the data\n(.*?)^##", re.MULTILINE | re.DOTALL)
LIVE_SECTION = re.compile(r"^### Look at the log\n(.*?)^##", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def lanes_of(vectors, library):
    """Rows and the largest sequence by lane, as the library that a block names finds them."""
    if library == "polars":
        found = vectors.group_by("lane").agg(pl.len(), pl.col("sequence").max()).sort("lane").collect()
        return found.rows()
    if library == "duckdb":
        return duckdb.sql("SELECT lane, count(*), max(sequence) FROM vectors GROUP BY lane ORDER BY lane").fetchall()
    found = vectors.to_table().group_by("lane").aggregate([("sequence", "count"), ("sequence", "max")])
    return sorted(tuple(row.values()) for row in found.to_pylist())


def check_columns(vectors, columns):
    """The columns that were asked for hold what write_segments puts there."""
    table = vectors.to_table(filter=ds.field("lane") == 0).sort_by("sequence")
    assert table.schema.names == ["sequence", "vector", *columns, "lane"], table.schema
    sequences = range(len(table))
    if "id" in columns:
        assert table.schema.field("id").type == pa.uint64(), table.schema
        assert table["id"].to_pylist() == [2**64 - 1 - sequence for sequence in sequences]
    if "time" in columns:
        assert table.schema.field("time").type == pa.timestamp("us"), table.schema
        times = table["time"].cast(pa.int64()).to_pylist()
        assert times == [(1_700_000_000 + sequence) * 1_000_000 for sequence in sequences]


def run(block, name):
    """Runs a block in the current folder. Returns its names and what it prints."""
    names, printed = {}, io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block, name, "exec"), names)
    return names, printed.getvalue()


def check(readme, columns):
    """Runs README's blocks in the current folder."""
    blocks = BLOCK.findall(SECTION.search(readme)[1])
    libraries = [re.match(r"import (\w+)", block)[1] for block in blocks]
    assert libraries == ["pyarrow", "polars", "duckdb"], libraries
    for library, block in zip(libraries, blocks):
        assert len(block.splitlines()) == 3, block
        names, printed = run(block, library)
        assert printed.strip(), block
        found = lanes_of(names["vectors"], library)
        assert found == [(0, 2500, 2499), (1, 1, 0)], f"{library}: {found}"
        if library == "pyarrow":
            check_columns(names["vectors"], columns)


def check_live(readme):
    """Runs README's blocks about `slipring log cat`, which also finds the live segment's row."""
    blocks = BLOCK.findall(LIVE_SECTION.search(readme)[1])
    libraries = [re.match(r"import subprocess, (\w+)", block)[1] for block in blocks]
    assert libraries == ["pyarrow", "polars", "duckdb"], libraries
    for library, block in zip(libraries, blocks):
        names, printed = run(block, library)
        sequences = names["vectors"]["sequence"]
        sequences = sequences.to_list() if library == "polars" else sequences.to_pylist()
        assert sequences == list(range(2501)), f"{library}: {sequences[-3:]}"
        assert library != "duckdb" or "2501" in printed and "2500" in printed, printed


def main():
    readme, program, columns = pathlib.Path(sys.argv[1]).read_text(), sys.argv[2], sys.argv[3]
    with subprocess.Popen([program, "vectors", columns, "live"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() and writer.stdout.readline() == "live\n"
        parts = [str(path) for path in pathlib.Path("vectors").rglob("*.part")]
        assert parts == ["vectors/.slipring/lane=0/seg-00000000000000002500.arrow.part"], parts
        # What a crash leaves is in the same place.
        pathlib.Path(parts[0]).with_name("seg-00000000000000000000.torn").write_bytes(b"torn")
        check(readme, [column for column in columns.split(",") if column])
        check_live(readme)
    versions = f"pyarrow {pa.__version__}, polars {pl.__version__}, duckdb {duckdb.__version__}"
    print(f"{versions} opened the folder as README says, with a segment open, columns {columns or 'by default'}")


main()
