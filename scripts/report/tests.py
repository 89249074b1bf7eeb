"""Tests of everything between a benchmark's output and a page: records, tables, targets, and the
check of a page, which must be able to fail. Nothing is measured. scripts/test-records runs them.
"""

import contextlib
import importlib.machinery
import importlib.util
import io
import sys
import tempfile
import unittest
from pathlib import Path

from report import downloads, figures, pages, records, tables, take, targets

SCRIPTS = Path(__file__).resolve().parents[1]
FIXTURES = SCRIPTS / "fixtures"
FIT, BIG = "touch8-mix-16x1024-fit", "touch8-mix-16x1024-2GiB"


def is_static(path):
    """The function of scripts/many-cores."""
    loader = importlib.machinery.SourceFileLoader("many_cores", str(SCRIPTS / "many-cores"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module.is_static(path)


def printed(name):
    """A record of the output of a program, as it is read back from its file."""
    meta, rows = records.parse_lines((FIXTURES / f"{name}.jsonl").read_text())
    columns = dict.fromkeys(column for row in rows for column in row)
    rows = [{column: str(row.get(column, "")) for column in columns} for row in rows]
    return records.Record(
        [("command", "made-up --json"), ("commit", "0" * 40), ("date", "2000-01-01"), *meta],
        rows,
        f"{name}.csv",
    )


def ring():
    return printed("ring")


class Records(unittest.TestCase):
    def test_lines_become_rows_with_their_memory_and_pool(self):
        meta, rows = records.parse_lines((FIXTURES / "ring.jsonl").read_text())
        ours = next(row for row in rows if row["contender"] == "slipring")
        self.assertEqual(
            (ours["case"], ours["ns_per_op"], ours["memory_bytes"], ours["pool_bytes"]),
            (FIT, 2.2, 524288, 524288),
        )
        self.assertEqual([row["emulated"] for row in rows if "emulated" in row], ["made up"] * 2)
        self.assertIn(("skipped", "two threads: two CPUs are needed, this process may use 1"), meta)
        self.assertIn(("machine", '{"cpu": "Made Up", "cpus": 2}'), meta)

    def test_the_output_of_older_and_newer_programs_is_read_too(self):
        _, rows = records.parse_lines(
            '{"bench":"ring","case":"a","contender":"b","ns_per_op":1.5,"ns_min":1.0,"repeats":7,"emulated":true,"more":1}\n'
        )
        self.assertEqual((rows[0]["emulated"], rows[0]["more"]), ("yes", 1))
        meta, rows = records.parse_lines(
            '{"bench":"sweep","window_bytes":65536,"ns_per_event":2.0}\n{"bench":"sweep","best_window_bytes":65536,"l2_bytes":1}\n'
        )
        self.assertEqual((len(rows), meta), (1, [("best_window_bytes", 65536), ("l2_bytes", 1)]))

    def test_a_record_comes_back_as_it_was_written(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "host/ring.csv"
            records.write_record(
                path,
                [("command", "a"), ("command", "b: c")],
                [{"more": 1, "case": "x"}, {"case": "y", "ns_per_op": 2}],
            )
            back = records.read_record(path)
            self.assertEqual((back.all("command"), back.get("none", "-")), (["a", "b: c"], "-"))
            self.assertEqual(list(back.rows[0]), ["case", "ns_per_op", "more"])
            self.assertEqual((back.rows[0]["more"], back.rows[1]["more"]), ("1", ""))
            for spoiled in ("# no colon\na\n1\n", "a,b\n1\n", "# only: this\n", "a\n"):
                path.write_text(spoiled)
                with self.assertRaises(records.RecordError, msg=spoiled):
                    records.read_record(path)
        for text in ("", "nonsense\n", '{"bench":"ring"}\n'):
            with self.assertRaises(records.RecordError, msg=text):
                records.parse_lines(text)

    def test_old_names_are_read_as_present_ones(self):
        text = (
            "# command: a run -- ring --only slipring,seed-arc --json\n# command: run -- seed-table\n"
            "case,contender,ns_per_op\nseed-8x128-2GiB,seed-arc-touched,1\ns3-1MB-x2,s3,2\n"
        )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "old.csv"
            path.write_text(text)
            record = records.read_record(path)
            pages.read.cache_clear()
            marker = "<!-- value: ns seed-8x128-2GiB seed-arc-touched from old.csv --><!-- end -->"
            self.assertIn("-->1.00 ns<!--", pages.updated(marker, Path(folder)))
            self.assertEqual(path.read_text(), text, "the record itself stays as it is")
        named = [(row["case"], row["contender"]) for row in record.rows]
        self.assertEqual(
            named, [("fixed-8x128-2GiB", "arc-ring-touched"), ("s3-1MB-x2", "mutex-queue")]
        )
        commands = ["a run -- ring --only slipring,arc-ring --json", "run -- fixed-size"]
        self.assertEqual(record.all("command"), commands)

    def test_present_names_are_those_of_the_programs(self):
        folder, families = records.ROOT / "compare", ("ring", "two_threads", "class", "queue")
        sources = [*folder.glob("go/*.go")]
        sources += [path for family in families for path in folder.glob(f"src/{family}/*.rs")]
        text = "".join(path.read_text() for path in sources)
        for old, new in records.OLD_CONTENDERS.items():
            self.assertTrue(f'"{new}"' in text, new)
            self.assertFalse(f'"{old}"' in text, old)
        main = (folder / "src/main.rs").read_text()
        self.assertTrue("FixedSize(" in main and "fixed-size" in records.OLD_COMMANDS.values())

    def test_no_committed_record_is_read_with_an_old_name(self):
        paths = list(records.RECORDS.glob("**/*.csv"))
        self.assertTrue(paths)
        for path in paths:
            rows = records.read_record(path).rows
            found = {row.get("contender") for row in rows} & records.OLD_CONTENDERS.keys()
            self.assertEqual(found, set(), path)

    def test_hosts_are_kinds_of_machines(self):
        amd = {
            "vendor_id": "AuthenticAMD",
            "cpu family": "26",
            "model": "2",
            "model name": "AMD EPYC",
        }
        self.assertEqual(records.host_name(amd, 2), "amd-epyc-zen5-2cpu")
        self.assertEqual(
            records.host_name(
                amd
                | {
                    "cpu family": "25",
                    "model": "17",
                    "model name": "AMD EPYC 9654 96-Core Processor",
                },
                16,
            ),
            "amd-epyc-9654-zen4-16cpu",
        )
        intel = {
            "vendor_id": "GenuineIntel",
            "cpu family": "6",
            "model": "143",
            "model name": "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz",
        }
        self.assertEqual(records.host_name(intel, 8), "intel-xeon-platinum-8481c-8cpu")
        self.assertEqual(records.host_name({}, 1), "unknown-1cpu")

    def test_a_busy_machine_is_warned_of(self):
        self.assertIsNone(records.load_warning(0.5))
        self.assertIn("0.51", records.load_warning(0.51))
        self.assertTrue(0 <= records.busy_percent(0.01) <= 100)

    def test_provenance_names_all_that_a_rerun_needs(self):
        keys = [key for key, _ in records.build_provenance() + records.machine_provenance()]
        for key in ("commit", "dirty", "rustc", "kernel", "cpu", "cpus", "caches", "thp", "date"):
            self.assertIn(key, keys)

    def test_sizes(self):
        self.assertEqual(
            [records.size_bytes(text) for text in ("32KiB", "2GiB", "fit")], [32768, 2 << 30, None]
        )
        self.assertEqual(
            [records.size_text(size) for size in (100, 32768, 3 << 20, 2 << 30)],
            ["100 B", "32 KiB", "3 MiB", "2 GiB"],
        )

    def test_an_answer_of_the_load_becomes_a_row(self):
        answer = {
            "seconds": 1.0,
            "requests_per_s": 10.04,
            "vectors_per_s": 10,
            "megabytes_per_s": 1,
            "requests_missed": 0,
        }
        answer["latency_us"] = {"count": 9, "p50": 1.5, "p99.9": 3, "max": 4}
        row = take.load_row("serve", (4, 32, 1, 1000), 2, answer)
        self.assertEqual(
            (row["case"], row["p50_us"], row["p99.9_us"], row["requests_per_s"]),
            ("load-4x32-v1-rate1000", 1.5, 3, 10.0),
        )
        self.assertNotIn("count_us", row)

    def test_the_server_of_downloads_is_the_one_of_the_tests(self):
        self.assertRegex(take.s3s_fs_version(), r"^\d+\.\d+\.\d+$")

    def test_a_measured_download_becomes_a_row(self):
        used = {"seconds": 0.5, "cpu_seconds": 0.1234567, "peak_kib": 9, "launcher_peak_kib": 4}
        row = downloads.row("files-1MiB-x2", "s5cmd", 3, 2, used | {"server_cpu_seconds": 0.25})
        named = (row["case"], row["contender"], row["repeat"])
        self.assertEqual(named, ("files-1MiB-x2", "s5cmd", 3))
        self.assertEqual((row["mib_per_s"], row["cpu_seconds"], row["peak_kib"]), (4.0, 0.123, 9))
        self.assertNotIn("launcher_peak_kib", row)
        self.assertRegex(downloads.object_store_version(), r"^\d+\.\d+\.\d+$")
        self.assertGreater(downloads.cpu_seconds_of("self"), 0)

    def test_ports_differ_and_have_free_second_ones(self):
        for _ in range(50):
            ports = downloads.free_ports(4)
            both = {port + more for port in ports for more in (0, downloads.SECOND_PORT)}
            self.assertTrue(len(both) == 8 and max(both) < 1 << 16, ports)

    def test_a_server_that_ends_is_started_again_and_its_words_are_shown(self):
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder) / "bin/weed"
            program.parent.mkdir()
            program.write_text(f"#!/bin/sh\necho started >> {folder}/starts; echo port taken; exit 1")
            program.chmod(0o755)
            with self.assertRaisesRegex(records.RecordError, "no bucket at .*\nport taken"):
                downloads.SeaweedFs(Path(folder)).__enter__()
            starts = (Path(folder) / "starts").read_text().splitlines()
            self.assertEqual(len(starts), downloads.START_TRIES)

    def test_every_download_writes_to_the_folder_that_is_compared(self):
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder) / "lib/python3/site-packages/s5cmd/bin/s5cmd"
            program.parent.mkdir(parents=True)
            program.touch()
            for contender in downloads.CONTENDERS:
                urls = ["s3://b/case/0", "s3://b/case/1"]
                command = downloads.command(contender, Path(folder), urls, "/to", "http://a")
                words = list(map(str, command))
                self.assertIn("/to", [word.rstrip("/") for word in words], contender)
                named = all(url in words for url in urls) or "s3://b/case/*" in words
                self.assertTrue(named, contender)

    def test_counts_of_callgrind_become_rows(self):
        # The lines as the script prints them: one function makes them for both.
        lines = [take.count_line("slots.mix", 29.31, 29.6), take.count_line("raii.mix", 31, 30)]
        rows = take.instructions("\n".join(["    noise", *lines, ""]))
        self.assertEqual([line.split()[0] for line in lines], ["ok", "FAILED"])
        self.assertEqual(
            [(row["case"], row["instructions_per_op"]) for row in rows],
            [("slots.mix", "29.31"), ("raii.mix", "31.00")],
        )
        counts = records.Record([], rows, "instructions.csv")
        shown = "\n".join(targets.instruction_targets_table([counts]))
        self.assertIn("release, slot path | ≤ 30 | 29.3 | met |", shown)
        self.assertIn("release, a slice a slot | ≤ 30 | 31.0 | **missed** |", shown)
        self.assertIn("8 vectors | ≤ 3,000 | not recorded |  |", shown)
        self.assertEqual(len(tables.instructions_table([counts])), 4)
        rows += [
            {"case": "queue.b512", "instructions_per_op": "200.5"},
            {"case": "class.b4k", "instructions_per_op": "90.0"},
        ]
        self.assertIn(
            "left out | ≤ 110 | 110.5 | **missed** |",
            "\n".join(targets.instruction_targets_table([counts])),
        )
        with self.assertRaises(records.RecordError):
            take.instructions("nothing")

    def test_a_program_that_loads_libraries_isnt_static(self):
        self.assertFalse(is_static(Path(sys.executable).resolve()))
        with self.assertRaises(records.RecordError):
            is_static(SCRIPTS / "record")


class Tables(unittest.TestCase):
    def test_every_kind_of_table_is_made(self):
        of = lambda name: records.read_record(FIXTURES / name)
        for words, record_of in (
            (["case", FIT], ring()),
            (["cases", FIT, BIG], ring()),
            (["steps", "empty-harness", "slipring", "arc-ring"], ring()),
            (["rivals-ahead"], ring()),
            (["targets", "ring"], ring()),
            (["machine"], ring()),
            (["pools"], of("pool-sizes.csv")),
            (["window"], of("window.csv")),
            (["load"], of("load.csv")),
            (["lanes"], of("lanes.csv")),
            (["objects"], printed("objects")),
            (["object-targets"], printed("objects")),
            (["downloads"], of("downloads.csv")),
            (["downloads-beside"], of("downloads.csv")),
            (["download-targets"], of("downloads.csv")),
            (["pace"], printed("pace")),
            (["sizes"], printed("alloc-sizes")),
            (["pretouch", "first"], printed("pretouch")),
        ):
            lines = tables.TABLES[words[0]]([record_of], *words[1:])
            widths = {line.count("|") for line in lines if line.startswith("|")}
            self.assertTrue(len(lines) > 2 and len(widths) == 1, words)

    def test_figures_are_the_records(self):
        lines = tables.case_table([ring()], FIT)
        self.assertIn("| `slipring` | 2.20 | 2.16–2.27 | 0.5 MiB | 9.1x |", lines)
        self.assertIn("`bbqueue` (made up)", lines[-1])
        self.assertIn(
            "| `slipring` | 2.20 | 2.16–2.27 | +1.20 |",
            tables.steps_table([ring()], "empty-harness", "slipring"),
        )
        self.assertEqual(figures.value([ring()], "ratio", FIT, "arc-ring", "slipring"), "9.09x")
        self.assertEqual(figures.value([ring()], "ns", FIT, "slipring"), "2.20 ns")
        objects = [printed("objects")]
        self.assertEqual(
            figures.value(
                objects, "ratio-of", "cpu_seconds", "s3-1MB-x2", "slipring", "object_store"
            ),
            "0.95x",
        )
        with self.assertRaises(records.RecordError):
            figures.value(objects, "ratio-of", "no_column", "s3-1MB-x2", "slipring", "object_store")

    def test_ranks_are_those_of_each_machine(self):
        here, there = ring(), ring()
        figures.find(there, FIT, "arc-ring")["ns_per_op"] = "1.1"
        line = next(line for line in targets.ranks_table([here, there]) if f"`{FIT}`" in line)
        cells = [cell.strip() for cell in line.split("|")]
        self.assertEqual(
            (cells[2], cells[4], cells[5]),
            ("2.20 ns, 3 of 5", "2.20 ns, 4 of 5", "`arc-ring` 0.50x"),
        )
        for wrong in ([here], [here, records.Record([], [], "empty.csv")]):
            with self.assertRaises(records.RecordError):
                targets.ranks_table(wrong)

    def test_targets_say_met_missed_and_not_recorded(self):
        here, there = ring(), ring()
        figures.find(there, FIT, "slipring")["ns_per_op"] = "1.9"
        text = "\n".join(targets.targets_table([here, there], "ring"))
        self.assertIn(
            f"fitting pool | `{FIT}` | `slipring` | first | 3 of 5, **missed** | 1 of 5, met |",
            text,
        )
        self.assertIn(
            f"| `{FIT}` | `slipring-raii` | 3 or better | 3 of 5, met | 3 of 5, met |", text
        )
        self.assertIn(
            "| `two-512B-b1` | `slipring` | 2 or better | not recorded | not recorded |", text
        )
        with self.assertRaises(records.RecordError):
            targets.targets_table([here], "none")

    def test_targets_of_objects_are_held_against_the_right_contender(self):
        lines = targets.object_targets_table([printed("objects")])
        self.assertIn(
            "| throughput | `slipring` / `object_store` | ≥ 1.05x | 1.06x to 1.10x | 1.050x | **0.50x** |",
            lines,
        )
        self.assertIn(
            "| peak resident memory | `slipring` / `object_store` | ≤ 0.7x | 0.71x (3.5 to 2.5 GB) | 0.700x | **0.80x** |",
            lines,
        )
        self.assertIn(
            "| large allocations, with the warm-up | `slipring` / `object_store` | ≤ 0.02x |  | 0.015x | **0.030x** |",
            lines,
        )
        self.assertIn(
            "| page faults an object, after the warm-up | `slipring` / `slipring-unpooled` | ≤ 0.01x |  | 0.002x |  |",
            lines,
        )
        table = tables.objects_table([printed("objects")])
        self.assertIn(
            "| `s3-1MB-x2` | `slipring` | 1,000 | 909–1,053 | 1.90 | 0.50 | 700 | 700 | 4, 0 | 1 |",
            table,
        )
        self.assertIn(
            "| `memory-1MB-x2` | `object_store` | 10,000 | 9,091–10,526 | 1.00 |  | 1,000 | 1,000 | 132, 100 | 500 |",
            table,
        )

    def test_downloads_are_medians_over_repeats(self):
        record = records.read_record(FIXTURES / "downloads.csv")
        self.assertEqual(
            tables.downloads_table([record])[2:],
            [
                "| `files-64MiB-x16` | `slipring` | 2,048 | 1,024–2,560 | 0.60 | 1.50 | 50 |",
                "| `files-64MiB-x16` | `object_store` | 1,024 | 640–1,280 | 1.10 | 1.00 | 60 |",
                "| `files-1MiB-x512` | `object_store` | 1,024 | 1,024–1,024 | 0.40 | 0.50 | 30 |",
                "| `files-1MiB-x512` | `slipring` | 512 | 512–512 | 0.50 | 0.50 | 40 |",
            ],
        )
        lines = tables.downloads_beside_table([record])
        self.assertIn("| `files-64MiB-x16` | processor seconds | 0.60 | 1.10 |", lines)
        self.assertIn("| `files-1MiB-x512` | peak MiB | 40 | 30 |", lines)
        lines = targets.download_targets_table([record])
        self.assertEqual(
            lines[0], "| figure | whose | target | `files-64MiB-x16` | `files-1MiB-x512` |"
        )
        self.assertIn(
            "| throughput | `slipring` / `object_store` | ≥ 1x | 2.00x | **0.50x** |", lines
        )
        # `slipring-fresh` isn't in this record.
        self.assertTrue(lines[-2].endswith("`slipring-fresh` | ≤ 1x |  |  |"), lines)
        self.assertTrue(lines[-1].endswith("| `slipring` | ≤ 256 MiB | 50 MiB | 40 MiB |"), lines)
        for row in record.rows:
            row["peak_kib"] = str(257 << 10)
        lines = targets.download_targets_table([record])
        self.assertTrue(lines[-1].endswith("| **257 MiB** | **257 MiB** |"), lines)

    def test_a_sentence_names_the_contender_that_is_ahead(self):
        record = records.read_record(FIXTURES / "downloads.csv")
        of = lambda *words: figures.value([record], *words)
        self.assertEqual(of("most", "mib_per_s", "files-64MiB-x16"), "`slipring`")
        self.assertEqual(of("most", "mib_per_s", "files-1MiB-x512"), "`object_store`")
        self.assertEqual(of("least", "cpu_seconds", "files-64MiB-x16"), "`slipring`")
        ratio = of("ratio-of", "mib_per_s", "files-64MiB-x16", "slipring", "object_store")
        self.assertEqual(ratio, "2.00x")
        for wrong in (["most", "mib_per_s", "none"], ["most", "none", "files-64MiB-x16"], ["most"]):
            with self.assertRaises(records.RecordError, msg=wrong):
                of(*wrong)

    def test_the_pace_is_compared_with_the_best_fixed_setting(self):
        lines = tables.pace_table([printed("pace")])
        self.assertIn("| `far-1MiB-x2` | 600 | 900 | 500 | 750 | 0.80x |", lines)
        self.assertIn(
            "| `throttling-1MiB-x2` | 300 (5 again) |  | 200 | 400 (3 failed) | 1.50x |", lines
        )

    def test_allocation_sizes_are_in_their_order(self):
        lines = tables.sizes_table([printed("alloc-sizes")])
        self.assertEqual(
            lines[0],
            "| vectors | bytes | `slipring` | `slipring-raii` | `jemalloc` | `arc-ring` | ratio |",
        )
        self.assertEqual(lines[2], "| 1 | 512 B | 2.00 | 2.50 | 10.0 | 20.0 | 10.0x |")
        self.assertEqual([line.split(" | ")[1] for line in lines[2:]], ["512 B", "4 KiB", "32 KiB"])
        with self.assertRaises(records.RecordError):
            tables.sizes_table([ring()])

    def test_an_untouched_pool_is_compared_with_the_same_one_touched(self):
        lines = tables.pretouch_table([printed("pretouch")], "first")
        self.assertIn("| 2 MiB | 4.00 | 4.00 | 20.0 | 80.0 | 25.0 | 400 | 16.00x | 4.00x |", lines)
        self.assertEqual(len(lines), 2 + 3)
        self.assertIn(
            "| 2 MiB | 50.0 | 300 | 50.0 | 1.00 | 300 | 1.00 | 0.00x | 0.02x |",
            tables.pretouch_table([printed("pretouch")], "map"),
        )
        with self.assertRaises(records.RecordError):
            tables.pretouch_table([printed("pretouch")], "last")

    def test_rivals_that_are_faster_are_counted_and_the_fastest_named(self):
        lines = targets.ahead_table([ring()])
        self.assertEqual(
            lines[2:],
            [
                f"| `{case}` | `bump-two-arenas` | 2 | {theirs} | {ours} | 1.10 |"
                for case, theirs, ours in ((FIT, "2.00", "2.20"), (BIG, "2.04", "2.24"))
            ],
        )

    def test_a_case_that_isnt_there_is_an_error(self):
        for make in (
            lambda: tables.case_table([ring()], "none"),
            lambda: figures.value([ring()], "ns", FIT, "none"),
            lambda: tables.steps_table([ring()], "none"),
        ):
            with self.assertRaises(records.RecordError):
                make()


class Check(unittest.TestCase):
    TEXT = f"""A text.
<!-- table: case {FIT} from records/ring.csv -->
<!-- end -->
The other takes <!-- value: ratio {FIT} arc-ring slipring from records/ring.csv --><!-- end --> of it.
<!-- table: window from records/none.csv -->
<!-- end -->
"""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        self.write(ring().rows)
        self.text = pages.updated(self.TEXT, self.root)

    def write(self, rows):
        records.write_record(
            self.root / "records/ring.csv",
            [("command", "made-up"), ("commit", "0" * 40), ("date", "2000-01-01")],
            rows,
        )
        pages.read.cache_clear()

    def test_places_are_filled_once_and_then_stay(self):
        self.assertIn("| `slipring` | 2.20 |", self.text)
        self.assertIn("-->9.09x<!-- end -->", self.text)
        self.assertIn("Not recorded yet: `scripts/record none`", self.text)
        self.assertIn("`made-up`; commit 0000000, 2000-01-01.", self.text)
        self.assertEqual(pages.updated(self.text, self.root), self.text)
        self.assertEqual(pages.complaint(self.text, self.root), "")

    def test_every_changed_digit_of_a_table_is_seen(self):
        start, end = self.text.index("| contender"), self.text.index("<!-- end -->")
        for at in (at for at in range(start, end) if self.text[at].isdigit()):
            other = self.text[:at] + str((int(self.text[at]) + 1) % 10) + self.text[at + 1 :]
            self.assertIn(
                "the records", pages.complaint(other, self.root), other[at - 20 : at + 20]
            )
        self.assertEqual(len(list(pages.changed_digits(self.text))), 2)

    def test_a_changed_digit_of_a_record_is_seen(self):
        rows = ring().rows
        rows[1]["ns_per_op"] = "2.3"
        self.write(rows)
        self.assertIn("+| `slipring` | 2.30 |", pages.complaint(self.text, self.root))

    def test_the_program_fails_on_a_changed_digit(self):
        path = self.root / "PERFORMANCE.md"
        path.write_text(self.text)
        self.assertEqual(pages.check(path, self.root), 0)
        path.write_text(self.text.replace("2.20", "2.10"))
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            self.assertEqual(pages.check(path, self.root), 1)
        self.assertIn("differs from its records", said.getvalue())

    def test_broken_markers_are_errors(self):
        for broken in (
            self.TEXT.replace("<!-- end -->", "", 1),
            self.TEXT.replace(" from records/none.csv", ""),
            self.TEXT.replace("table: case", "table: cake"),
            self.TEXT.replace(f"case {FIT}", "case"),
            self.TEXT.replace("ratio", "none"),
        ):
            with self.assertRaises(records.RecordError, msg=broken):
                pages.updated(broken, self.root)
