//! A record of the log, for several shapes of rows.
#![no_main]

use libfuzzer_sys::fuzz_target;
use slipring_ingest::log::{RecordView, RowShape};
use slipring_ingest::sink::Columns;

fuzz_target!(|bytes: &[u8]| {
    for (dim, id, time) in [(3, true, true), (1, false, false), (1 << 20, true, false)] {
        let shape = RowShape { dim, columns: Columns { id, time } };
        match RecordView::decode(bytes, shape, 4096) {
            Ok(record) => {
                let rows = record.header().rows() as usize;
                assert_eq!(record.sequences().len(), 8 * rows);
                assert_eq!(record.vectors().len(), shape.vector_bytes() * rows);
                assert_eq!(record.ids().len(), if id { 8 * rows } else { 0 });
                assert_eq!(record.times().len(), if time { 8 * rows } else { 0 });
                assert!(record.header().record_bytes() <= bytes.len() as u64);
                record.marks().for_each(drop);
            }
            Err(fault) => assert!(!fault.to_string().is_empty()),
        }
    }
});
