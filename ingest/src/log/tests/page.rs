//! docs/LOG.md: its figures, its drawings' numbers and its example are compared with the code.

use super::super::fields::FixedField;
use super::super::header::{FIELDS, MARK_BYTES};
use super::super::shape::{HEAD_FIELDS, encode_head};
use super::super::*;
use super::rows::folders;
use super::sim_disk::SimDisk;
use crate::sink::Columns;

const PAGE: &str = include_str!("../../../../docs/LOG.md");

/// The cells of the table whose first heading is `title`.
fn table(title: &str) -> Vec<Vec<&'static str>> {
    let at = PAGE.find(&format!("\n\n| {title} |")).unwrap_or_else(|| panic!("no table {title}"));
    let rows = PAGE[at..].trim_start().lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// The lines of the fenced block that opens with these words.
fn block(opening: &str) -> Vec<&'static str> {
    let (_, rest) = PAGE.split_once(&format!("```{opening}\n")).unwrap();
    rest.split("```").next().unwrap().lines().map(str::trim_end).collect()
}

fn figures(fields: &[FixedField]) -> Vec<Vec<String>> {
    let row = |field: &FixedField| {
        vec![format!("`{}`", field.key), field.width.to_string(), field.radix.to_string()]
    };
    fields.iter().map(row).collect()
}

fn first_three(rows: Vec<Vec<&str>>) -> Vec<Vec<String>> {
    rows.iter().map(|row| row[..3].iter().map(ToString::to_string).collect()).collect()
}

#[test]
fn the_tables_name_the_figures() {
    assert_eq!(first_three(table("head figure")), figures(&HEAD_FIELDS));
    assert_eq!(first_three(table("record figure")), figures(&FIELDS));
}

#[test]
fn small_records_are_those_that_are_merged() {
    use super::super::merge::{MERGED_BYTES, MERGED_ROWS_MAX, SMALL_BYTES, SMALL_ROWS};
    let text = PAGE.split_whitespace().collect::<Vec<_>>().join(" ");
    let small =
        format!("fewer than {SMALL_ROWS} rows and fewer than {} KiB on average", SMALL_BYTES >> 10);
    let large = format!("up to {} MiB of vectors and {MERGED_ROWS_MAX} rows", MERGED_BYTES >> 20);
    assert!(text.contains(&small) && text.contains(&large), "{small}; {large}");
}

/// 16 bytes a line; lines of zeros are left out.
fn dump(bytes: &[u8]) -> Vec<String> {
    let lines = bytes.chunks(16).enumerate().filter(|(_, line)| line.iter().any(|byte| *byte != 0));
    lines
        .map(|(number, line)| {
            let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            let text = |byte: &u8| if byte.is_ascii_graphic() { char::from(*byte) } else { '.' };
            let text: String = line.iter().map(text).collect();
            format!("{:04x}  {}  {text}", number * 16, hex.join(" "))
        })
        .collect()
}

/// The example: a record of two rows of dimension 2 with ids and times, the first of its segment.
fn example() -> (Vec<u8>, Vec<u8>) {
    let shape = RowShape { dim: 2, columns: Columns { id: true, time: true } };
    let disk = SimDisk::new(1);
    let options = LogOptions::new(shape, 0, 0x0123_4567_89ab_cdef);
    let (mut log, _) = LaneLog::open(disk.clone(), folders(), options).unwrap();
    let mut buffer = log.buffer(16, 1).unwrap();
    let vectors: Vec<u8> = [1.0_f32, 2.0, 3.0, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let ids = [41_u64.to_le_bytes(), 42_u64.to_le_bytes()].concat();
    let mark = Some(RequestMark { producer: 9, sequence: 3 });
    let times = RowTimes::One(1_700_000_000_000_000);
    let rows = LogRows { vectors: &vectors, ids: &ids, times, mark };
    assert_eq!(buffer.append(&rows).unwrap(), 2);
    log.append(&mut buffer).unwrap();
    let file = disk.content(log.segment().unwrap().path()).unwrap();
    let (head, record) = file.split_at(4096);
    (head.to_vec(), record.to_vec())
}

#[test]
fn the_example_is_what_the_code_writes() {
    let (head, record) = example();
    let schema = super::super::shape::segment_schema(
        RowShape { dim: 2, columns: Columns { id: true, time: true } },
        0,
    );
    assert_eq!(head, encode_head(&schema, 0x0123_4567_89ab_cdef, 4096).0, "heads have no clock");
    let written = dump(&record);
    assert_eq!(block("hex record"), written, "docs/LOG.md should show:\n{}", written.join("\n"));
    // The figures of the example as the page reads them out.
    let record = RecordView::decode(&record, shape_of_example(), 4096).unwrap();
    let (header, places) = (record.header(), &table("example part"));
    let body = header.body;
    let at = |within: usize| header.header_bytes + within;
    let expected = [
        ("header", 0, header.header_bytes),
        ("sequences", at(body.sequences), 16),
        ("ids", at(body.ids), 16),
        ("times", at(body.times), 16),
        ("vectors", at(body.vectors), 16),
        ("marks", at(body.marks), MARK_BYTES),
    ];
    for (row, (name, offset, bytes)) in places.iter().zip(expected) {
        assert_eq!(row[..3], [name, &offset.to_string(), &bytes.to_string()]);
    }
    assert_eq!(places.len(), expected.len());
}

fn shape_of_example() -> RowShape {
    RowShape { dim: 2, columns: Columns { id: true, time: true } }
}
