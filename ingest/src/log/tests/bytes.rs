//! The bytes of records: what goes in comes out, a changed bit is found, and arbitrary bytes are
//! refused without a panic or an allocation by what they say.

use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, TimestampMicrosecondType, UInt64Type};
use arrow_array::{Array, RecordBatch};
use arrow_ipc::reader::{FileReader, StreamReader};
use proptest::prelude::*;

use super::super::*;
use super::rows::{DIM, Row, folders, options, read_rows, rows_of, shape};
use super::sim_disk::SimDisk;
use crate::sink::Columns;

const EPOCH: u64 = 0x0123_4567_89ab_cdef;

fn log(disk: &SimDisk) -> LaneLog<SimDisk> {
    LaneLog::open(disk.clone(), folders(), options(EPOCH)).unwrap().0
}

/// Writes records of these numbers of rows into a segment, and returns its path.
fn write(log: &mut LaneLog<SimDisk>, records: &[usize]) -> std::path::PathBuf {
    let mut buffer = log.buffer(100, 8).unwrap();
    let mut number = log.next_sequence();
    for rows in records {
        buffer.clear();
        for _ in 0..*rows {
            let mark = RequestMark { producer: 7, sequence: number + 1 };
            let mark = Some(mark).filter(|_| number == log.next_sequence());
            assert!(Row::of(number).append_marked(mark, &mut buffer));
            number += 1;
        }
        log.append(&mut buffer).unwrap();
    }
    log.segment().unwrap().path().to_owned()
}

fn rows(numbers: std::ops::Range<u64>) -> Vec<(u64, Row)> {
    numbers.map(|number| (number, Row::of(number))).collect()
}

/// The rows that Arrow's own reader finds.
fn arrow_rows(batches: impl Iterator<Item = RecordBatch>) -> Vec<(u64, Row)> {
    let mut rows = Vec::new();
    for batch in batches {
        let sequences = batch.column(0).as_primitive::<UInt64Type>();
        let ids = batch.column(2).as_primitive::<UInt64Type>();
        let times = batch.column(3).as_primitive::<TimestampMicrosecondType>();
        for row in 0..batch.num_rows() {
            let vector = batch.column(1).as_fixed_size_list().value(row);
            let vector = vector.as_primitive::<Float32Type>().values().iter();
            let vector = vector.flat_map(|value| value.to_le_bytes()).collect();
            let row_found = Row { vector, id: ids.value(row), time: times.value(row) };
            rows.push((sequences.value(row), row_found));
        }
        assert!(batch.columns().iter().all(|column| column.null_count() == 0));
    }
    rows
}

#[test]
fn a_live_file_is_a_stream_and_a_sealed_one_a_file() {
    let disk = SimDisk::new(1);
    let mut log = log(&disk);
    let path = write(&mut log, &[1, 100, 8, 9]);
    let live = disk.content(&path).unwrap();
    assert_eq!(live.len() as u64, log.segment().unwrap().written().file_bytes);
    let stream = StreamReader::try_new(&live[8..], None).unwrap();
    assert_eq!(arrow_rows(stream.map(Result::unwrap)), rows(0..118));
    let sealed = log.close().unwrap().unwrap();
    assert_eq!((sealed.first_sequence, sealed.next_sequence, sealed.records), (0, 118, 4));
    let file = disk.content(&sealed.path).unwrap();
    assert_eq!(file.len() as u64, sealed.file_bytes);
    assert!(file.starts_with(&live), "sealing rewrites nothing");
    let reader = FileReader::try_new(std::io::Cursor::new(&file), None).unwrap();
    assert_eq!(arrow_rows(reader.map(Result::unwrap)), rows(0..118));
    // As a stream it ends where the records do.
    let stream = StreamReader::try_new(&file[8..], None).unwrap();
    assert_eq!(arrow_rows(stream.map(Result::unwrap)), rows(0..118));
}

#[test]
fn records_are_whole_blocks_and_small_ones_one() {
    let disk = SimDisk::new(1);
    let mut log = log(&disk);
    let mut buffer = log.buffer(100, 8).unwrap();
    assert!(matches!(log.place(&mut buffer), Err(LogError::NoRows)));
    log.append(&mut buffer).unwrap();
    let mut end = 4096;
    for rows in [1, 8, 9, 100, 1] {
        buffer.clear();
        (0..rows).for_each(|number| assert!(Row::of(number).append(&mut buffer)));
        let placed = log.place(&mut buffer).unwrap();
        let record = buffer.record().unwrap();
        assert_eq!((placed.offset, placed.bytes), (end, record.len() as u64));
        assert!(record.as_ptr().addr().is_multiple_of(4096));
        // 8 rows and their header fit a block; beyond it the integers need one of their own.
        assert_eq!(placed.bytes, if rows <= 8 { 4096 } else { 8192 }, "{rows} rows");
        end += placed.bytes;
    }
}

#[test]
fn a_buffer_takes_what_fits_and_refuses_what_are_no_rows() {
    let log = log(&SimDisk::new(1));
    let mut buffer = log.buffer(2, 1).unwrap();
    let three = |bytes: usize| LogRows {
        vectors: &[0; 3 * DIM as usize * 4][..bytes * DIM as usize * 4],
        ids: &[0; 24][..bytes * 8],
        times: RowTimes::One(0),
        mark: None,
    };
    for wrong in [
        LogRows { vectors: &[0; 11], ..three(1) },
        LogRows { ids: &[], ..three(1) },
        LogRows { ids: &[0; 16], ..three(1) },
        LogRows { times: RowTimes::Each(&[0; 7]), ..three(1) },
    ] {
        let error = buffer.append(&wrong).unwrap_err().to_string();
        assert!(error.contains("12 bytes of a vector, 8 of an id, 8 of a time"), "{error}");
    }
    assert_eq!((buffer.append(&three(0)).unwrap(), buffer.rows()), (0, 0));
    assert_eq!(
        (buffer.append(&three(3)).unwrap(), buffer.room(), buffer.is_closed()),
        (2, 0, true)
    );
    assert_eq!(buffer.append(&three(1)).unwrap(), 0, "it is full");
    buffer.clear();
    // A producer's request isn't divided, and each takes one of the places for marks.
    let mark = Some(RequestMark { producer: 1, sequence: 2 });
    for (rows, taken) in [(3, 0), (0, 0), (1, 1), (1, 0)] {
        assert_eq!(buffer.append(&LogRows { mark, ..three(rows) }).unwrap(), taken, "{rows}");
    }
    assert_eq!(buffer.append(&three(1)).unwrap(), 1, "without a mark there is room");
    buffer.clear();
    assert_eq!((buffer.rows(), buffer.room(), buffer.is_closed()), (0, 2, false));
    for (rows, marks, text) in [
        (0, 1, "rows_max is 0: must be between 1 and"),
        (1, MARKS_MAX + 1, "marks_max is 65537: must be between 0 and 65536"),
    ] {
        let error = log.buffer(rows, marks).unwrap_err().to_string();
        assert!(error.starts_with(text), "{error}");
    }
}

#[test]
fn every_changed_bit_is_found() {
    let disk = SimDisk::new(1);
    let mut log = log(&disk);
    let path = write(&mut log, &[1, 2]);
    let bytes = disk.content(&path).unwrap();
    let walk = |bytes: Vec<u8>| {
        disk.put(&path, bytes);
        let file = disk.open(&path, ReadFrom::Cache).unwrap();
        read_rows(&file, &path, 0, file.len().unwrap())
    };
    assert_eq!(walk(bytes.clone()), Ok(rows(0..3)));
    // Every byte of what isn't padding, and every seventh of what is.
    for at in (0..bytes.len()).filter(|at| bytes[*at] != 0 || at % 7 == 0) {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        assert!(walk(changed).is_err(), "byte {at}");
    }
}

#[test]
fn shapes_have_their_own_layout() {
    for (dim, id, time) in
        [(1, false, false), (1, true, false), (2, false, true), (300, true, true)]
    {
        let shape = RowShape { dim, columns: Columns { id, time } };
        let disk = SimDisk::new(1);
        let options = LogOptions::new(shape, 3, EPOCH);
        let (mut log, _) = LaneLog::open(disk.clone(), folders(), options).unwrap();
        let mut buffer = log.buffer(50, 0).unwrap();
        let vectors = vec![0x3f; shape.vector_bytes() * 50];
        let ids: &[u8] = if id { &[5; 400] } else { &[] };
        let rows = LogRows { vectors: &vectors, ids, times: RowTimes::One(9), mark: None };
        assert_eq!(buffer.append(&rows).unwrap(), 50);
        log.append(&mut buffer).unwrap();
        let record = RecordView::decode(buffer.record().unwrap(), shape, 4096).unwrap();
        assert_eq!((record.vectors(), record.ids()), (&vectors[..], ids));
        let times = if time { 9_i64.to_le_bytes().repeat(50) } else { Vec::new() };
        assert_eq!((record.times(), record.marks().count()), (&times[..], 0));
        let sealed = log.close().unwrap().unwrap();
        let file = disk.content(&sealed.path).unwrap();
        let mut reader = FileReader::try_new(std::io::Cursor::new(&file), None).unwrap();
        let batch = reader.next().unwrap().unwrap();
        assert_eq!(
            (batch.num_rows(), batch.num_columns()),
            (50, 2 + usize::from(id) + usize::from(time))
        );
    }
}

/// The seeds of the fuzzer begin where the code is now. `SLIPRING_WRITE_SEEDS` writes them.
#[test]
fn seeds_are_what_the_code_writes() {
    let disk = SimDisk::new(1);
    let mut log = log(&disk);
    let path = write(&mut log, &[5, 8]);
    let live = disk.content(&path).unwrap();
    let sealed = log.seal().unwrap().unwrap();
    let sealed = disk.content(&sealed.path).unwrap();
    let next = disk.content(&folders().next()).unwrap();
    let placed = |place: u8, bytes: &[u8]| [&[place], bytes].concat();
    let mut bad = live.clone();
    bad[4096 + 1000] ^= 1;
    let seeds = [
        ("record/first", live[4096..8192].to_vec()),
        ("record/cut", live[4096..6000].to_vec()),
        ("recover/live", placed(0, &live)),
        ("recover/torn", placed(0, &live[..10_000])),
        ("recover/bad", placed(0, &bad)),
        ("recover/sealed", placed(1, &sealed)),
        ("recover/next", placed(2, &next)),
    ];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
    for (name, bytes) in seeds {
        let seed = folder.join(name);
        if std::env::var_os("SLIPRING_WRITE_SEEDS").is_some() {
            std::fs::write(&seed, &bytes).unwrap();
        }
        assert!(std::fs::read(&seed).unwrap() == bytes, "{name} is another file");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_goes_in_comes_out(records in prop::collection::vec(1_usize..100, 1..6)) {
        let disk = SimDisk::new(1);
        let mut log = log(&disk);
        let path = write(&mut log, &records);
        let file = disk.open(&path, ReadFrom::Cache).unwrap();
        let total: usize = records.iter().sum();
        let first = log.segment().unwrap().first_sequence();
        let found = read_rows(&file, &path, first, file.len().unwrap()).unwrap();
        prop_assert_eq!(found, rows(first..total as u64));
    }

    /// A record with anything written over it is refused, or is the same record.
    #[test]
    fn damaged_records_are_refused(
        at in 0_usize..2048,
        with in prop::collection::vec(any::<u8>(), 1..16),
        cut in 0_usize..9000,
    ) {
        let disk = SimDisk::new(1);
        let mut log = log(&disk);
        let mut buffer = log.buffer(100, 8).unwrap();
        (0..20).for_each(|number| assert!(Row::of(number).append(&mut buffer)));
        log.append(&mut buffer).unwrap();
        let mut bytes = buffer.record().unwrap().to_vec();
        let before = bytes.clone();
        bytes[at..at + with.len()].copy_from_slice(&with);
        let found = RecordView::decode(&bytes, shape(), 4096);
        prop_assert_eq!(found.is_ok(), bytes == before);
        let end = cut.min(before.len());
        let found = RecordView::decode(&before[..end], shape(), 4096);
        prop_assert_eq!(found.is_ok(), end == before.len());
        if let Ok(record) = found {
            prop_assert_eq!(rows_of(&record), rows(0..20));
        }
    }

    /// Any bytes in place of any file: the log opens, or says why not.
    #[test]
    fn arbitrary_files_are_survived(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        at in 0_usize..9000,
        keep in 0_usize..14_000,
        name in 0_usize..3,
    ) {
        let disk = SimDisk::new(1);
        let mut log = log(&disk);
        let path = write(&mut log, &[5, 20]);
        let mut content = disk.content(&path).unwrap();
        if name == 1 {
            let sealed = log.seal().unwrap().unwrap();
            content = disk.content(&sealed.path).unwrap();
        }
        drop(log);
        content.truncate(keep);
        let end = (at + bytes.len()).min(content.len());
        let from = at.min(end);
        content[from..end].copy_from_slice(&bytes[..end - from]);
        let place = match name {
            1 => Path::new("/log/lane=0/seg-00000000000000000000.arrow"),
            2 => Path::new("/log/.slipring/lane=0/next"),
            _ => &path,
        };
        disk.put(place, content);
        match LaneLog::open(disk.clone(), folders(), options(EPOCH)) {
            Ok((log, _)) => prop_assert!(log.next_sequence() >= 10_000 || name == 2),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}
