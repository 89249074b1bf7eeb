"""Reads a log at work and after it: read_log.py PROGRAM DIR COLUMNS.

PROGRAM is the example write_log. Fails unless pyarrow and polars read the live segment as a stream
from byte 8 on and the sealed ones as files, DuckDB reads both through pyarrow, all with the rows
that write_log appends, and pyarrow.dataset opens the folder while a segment is live.
"""

import io
import pathlib
import subprocess
import sys

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds

DIM = 96


def check(table, first, rows, columns):
    """The table holds the rows that write_log appends, with the columns asked for."""
    table.validate(full=True)
    names = ["sequence", "vector", *columns]
    assert table.schema.names == names, table.schema
    sequences = range(first, first + rows)
    assert table["sequence"].to_pylist() == list(sequences), (first, rows, table.num_rows)
    vectors = table["vector"].combine_chunks().flatten().to_pylist()
    assert vectors == [(s + i) % 251 - 125.0 for s in sequences for i in range(DIM)]
    if "id" in columns:
        assert table["id"].to_pylist() == [2**64 - 1 - s for s in sequences]
    if "time" in columns:
        times = table["time"].cast(pa.int64()).to_pylist()
        assert times == [(1_700_000_000 + s) * 1_000_000 for s in sequences]


def check_file(path, first, rows, columns):
    """A sealed segment, as a file."""
    with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as reader:
        check(reader.read_all(), first, rows, columns)
    found = pl.read_ipc(path)
    assert found["sequence"].to_list() == list(range(first, first + rows))
    assert found["vector"].to_list()[-1][0] == (first + rows - 1) % 251 - 125.0


def check_stream(path, first, rows, columns):
    """A live segment, as a stream from byte 8 on."""
    stream = path.read_bytes()[8:]
    with pa.ipc.open_stream(stream) as reader:
        table = reader.read_all()
    check(table, first, rows, columns)
    found = pl.read_ipc_stream(io.BytesIO(stream))
    assert found["sequence"].to_list() == list(range(first, first + rows))
    assert found["vector"].to_list()[-1][0] == (first + rows - 1) % 251 - 125.0
    vectors = table
    count = duckdb.sql("SELECT count(*), max(sequence) FROM vectors").fetchall()
    assert count == [(rows, first + rows - 1)], count


def main():
    program, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    columns = [column for column in sys.argv[3].split(",") if column]
    with subprocess.Popen([program, folder, ",".join(columns)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        state, path, sealed_rows = writer.stdout.readline().split()
        assert state == "sealed"
        check_file(pathlib.Path(path), 0, int(sealed_rows), columns)
        state, path, rows = writer.stdout.readline().split()
        assert state == "live" and path.endswith(".part"), path
        check_stream(pathlib.Path(path), int(sealed_rows), int(rows), columns)
        dataset = ds.dataset(folder, format="ipc", partitioning="hive")
        assert dataset.count_rows() == int(sealed_rows)
        writer.stdin.close()
        state, path, rows = writer.stdout.readline().split()
        assert state == "sealed"
        check_file(pathlib.Path(path), int(sealed_rows), int(rows), columns)
    assert writer.returncode == 0
    print(f"pyarrow {pa.__version__} and polars {pl.__version__} read a log live and sealed, columns {','.join(columns) or 'by default'}")


main()
