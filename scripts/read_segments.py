"""Reads the segments of a data folder with pyarrow alone: read_segments.py DIR ROWS SUM.

Fails unless each segment opens, has the documented schema, and continues the sequence of the
segment before it, and all segments together hold ROWS rows whose components add up to SUM.
"""

import pathlib
import sys

import pyarrow as pa
import pyarrow.compute as pc


def read_lane(folder):
    """Checks the segments of a lane and returns their rows, the sum of all components, and the
    number of segments."""
    rows, total, segments = 0, 0.0, sorted(folder.glob("*.arrow"))
    for path in segments:
        with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as reader:
            dim = int(reader.schema.metadata[b"slipring.dim"])
            item = pa.field("item", pa.float32(), nullable=False)
            expected = [
                pa.field("sequence", pa.uint64(), nullable=False),
                pa.field("vector", pa.list_(item, dim), nullable=False),
                pa.field("id", pa.uint64(), nullable=False),
                pa.field("time", pa.timestamp("us"), nullable=False),
            ]
            names = reader.schema.names
            expected = pa.schema([field for field in expected if field.name in names or field.name in ["sequence", "vector"]])
            assert reader.schema.equals(expected), f"{path}: {reader.schema}"
            for field in reader.schema:
                assert field.metadata[b"slipring.content"] and field.metadata[b"slipring.unit"], f"{path}: {field}"
            assert reader.schema.metadata[b"slipring.format"] == b"1", path
            assert reader.schema.metadata[b"slipring.lane"].decode() == folder.name.removeprefix("lane="), path
            table = reader.read_all()
            table.validate(full=True)
        assert path.name == f"seg-{rows:020}.arrow", f"{path}: sequence {rows} must come next"
        assert table["sequence"].to_pylist() == list(range(rows, rows + table.num_rows)), path
        values = pc.list_flatten(table["vector"])
        assert len(values) == table.num_rows * dim, path
        rows += table.num_rows
        total += pc.sum(values.cast(pa.float64())).as_py()
    return rows, total, len(segments)


def main():
    folder, rows, total = pathlib.Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    lanes = [read_lane(lane) for lane in sorted(folder.glob("lane=*"))]
    found = [sum(part) for part in zip(*lanes)]
    assert found and found[:2] == [rows, total], f"expected {rows} rows with sum {total}, found {found}"
    print(f"pyarrow {pa.__version__} read {rows} rows with sum {total} from {found[2]} segments of {len(lanes)} lanes")


main()
