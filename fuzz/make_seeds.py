#!/usr/bin/env python3
"""Writes the seeds: one small file per form of input. Needs numpy-like headers and pyarrow only:
    ~/.cache/slipring/venv-pyarrow-*/bin/python fuzz/make_seeds.py
Those of `record` and `recover` are written by the log itself:
    SLIPRING_WRITE_SEEDS=1 cargo test -p slipring-ingest --lib log::tests::bytes::seeds
"""
import struct
from pathlib import Path

import pyarrow as pa

SEEDS = Path(__file__).parent / "seeds"
ROWS = [[1.0, 2.0], [3.0, float("nan")], [5.0, 6.0]]


def write(target, name, data):
    (SEEDS / target).mkdir(parents=True, exist_ok=True)
    (SEEDS / target / name).write_bytes(data)


def npy(version, descr, shape, data, order="False"):
    header = f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + length + header + data


def fvecs(rows):
    return b"".join(struct.pack(f"<I{len(row)}f", len(row), *row) for row in rows)


def arrow(kind, column_type, compression=None, name="v"):
    values = [[int(x) if pa.types.is_integer(column_type.value_type) else x for x in row]
              for row in (ROWS[0], ROWS[2], ROWS[0])]
    table = pa.table({"id": pa.array([1, 2, 3]), name: pa.array(values, column_type)})
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    make = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
    with make(sink, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=2)
    return sink.getvalue().to_pybytes()


def header_frame(count, dim, sequence):
    payload = struct.pack(f"<{count * dim}f", *range(count * dim))
    return b"SR" + bytes([1, 0]) + struct.pack("<HHQ", count, dim, sequence) + payload


def hello(dim, **fields):
    values = [dim, 0, 0, 0, 0, 0, 0, 0]
    for at, value in fields.values():
        values[at] = value
    return b"SR\x02\x01" + struct.pack("<IBBBBHHQ", *values)


def request(count, dim, sequence, flags=0):
    ids = struct.pack(f"<{count}Q", *range(count)) if flags & 1 else b""
    payload = struct.pack(f"<{count * dim}f", *range(count * dim))
    return b"SR\x02\x02" + struct.pack("<HHIIQ", flags, count, dim, 0, sequence) + ids + payload


floats = struct.pack("<6f", *[x for row in ROWS for x in row])
for version in (1, 2, 3):
    write("npy", f"version{version}", npy(version, "<f4", "(3, 2)", floats))
write("npy", "long", npy(1, "<f4", "(3L, 2L)", floats))
write("npy", "behind", npy(1, "<f4", "(2, 2)", floats))
write("npy", "fortran", npy(1, "<f4", "(3, 2)", floats, order="True"))
for descr, code in (("<f8", "d"), ("<f2", "e"), ("|i1", "b"), ("|u1", "B")):
    write("npy", "type" + code, npy(1, descr, "(2, 2)", struct.pack(f"<4{code}", 1, 2, 3, 4)))

write("fvecs", "rows", fvecs(ROWS))
write("fvecs", "odd", fvecs([[1.0], [1.0, 2.0]]))
write("fvecs", "gzip", b"\x1f\x8b\x08\x00")
write("fvecs", "json", b'{"vector": [1, 2]}')

for kind in ("file", "stream"):
    for compression in (None, "lz4", "zstd"):
        packed = compression or "plain"
        write("arrow", f"{kind}-{packed}", arrow(kind, pa.list_(pa.float32(), 2), compression))
    write("arrow", f"{kind}-list", arrow(kind, pa.list_(pa.float32())))
    write("arrow", f"{kind}-large", arrow(kind, pa.large_list(pa.float64()), "zstd", "vector"))
    write("arrow", f"{kind}-int8", arrow(kind, pa.list_(pa.int8(), 2)))
write("arrow", "two-streams", 2 * arrow("stream", pa.list_(pa.float32(), 2)))
write("arrow", "two-files", 2 * arrow("file", pa.list_(pa.float32(), 2)))

settings = bytes([1, 7, 0, 4, 9, 30])
write("frames", "header", settings + header_frame(3, 2, 7) + header_frame(1, 2, 8))
write("frames", "version2", settings + hello(2) + request(3, 2, 7) + request(1, 2, 8, flags=2))
write("frames", "version2-ids", settings + hello(2, columns=(3, 1)) + request(2, 2, 7, flags=3))
write("frames", "version2-refused", settings + hello(3, token=(5, 9)) + request(1, 3, 7))
write("frames", "version2-answer", settings + b"SR\x02\x02"
      + struct.pack("<BBHHHIQQQf", 0, 1, 1, 9, 0, 0, 7, 40, 0, 0.5))
write("frames", "refused", settings + header_frame(3, 3, 7) + header_frame(0, 2, 8))
write("frames", "count", settings + struct.pack("<I4f", 2, 1, 2, 3, 4) + struct.pack("<I2f", 1, 5, 6))
write("frames", "answer", settings + b"SR\x01\x00" + struct.pack("<HHQf", 1, 9, 7, 0.5))
write("frames", "text", settings + b"GET / HTTP/1.1\r\n\r\n")

for number, url in enumerate([
    "s3://bucket/a/b%20c.bin", "s3://b/a/../b2", "s3://b//a", "gs://bucket/key", "az://container/key",
    "http://host/x/a%2Fb", "https://user:pw@host:8443/a?sig=1#x", "file:///tmp/a", "/tmp/a file",
    "memory:///a", "a", "../a", "http://[::1]:9/a", "s3://bucket/%00", "abfss://c@a.dfs.core.windows.net/k",
]):
    write("urls", f"url{number:02}", url.encode())
