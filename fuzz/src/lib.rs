//! What targets share: reading files of vectors, and a disk for the log.

pub mod memory_disk;

use slipring_ingest::vectors::{ImageOptions, RefusedRows, RowIds, VectorImage};

/// Reads an image as `slipring get --ingest` does, and checks that its rows are what it says.
pub fn read_image(bytes: &[u8], name: &str) {
    for column in [None, Some("v")] {
        for convert in [false, true] {
            for ids in [RowIds::None, RowIds::Column(None), RowIds::NumbersFrom(1)] {
                let options = ImageOptions { column, convert, ids, batch_bytes_max: 1 << 20 };
                match VectorImage::parse(bytes, name, &options) {
                    Ok(image) => check_rows(&image),
                    // Messages are printed.
                    Err(error) => assert!(!error.to_string().is_empty()),
                }
            }
        }
    }
}

/// Goes through all rows, as the client of a service does.
fn check_rows(image: &VectorImage<'_>) {
    if image.check_limits(64).is_err() {
        return;
    }
    let (mut cursor, mut refused) = (image.cursor(), RefusedRows::default());
    let (mut rows, mut out) = (0, Vec::new());
    loop {
        let count = cursor.next_run(3, &mut refused);
        if count == 0 {
            break;
        }
        out.clear();
        cursor.append_ids(count, &mut out);
        assert_eq!(out.len() as u64, if image.has_ids() { count * 8 } else { 0 });
        out.clear();
        cursor.append_rows(count, &mut out);
        let (components, odd) = out.as_chunks::<4>();
        assert_eq!(components.len() as u64, count * u64::from(image.dim()));
        assert!(odd.is_empty());
        assert!(components.iter().all(|bytes| f32::from_le_bytes(*bytes).is_finite()));
        rows += count;
        assert_eq!(cursor.number(), rows + refused.count());
    }
    assert_eq!((cursor.left(), rows + refused.count()), (0, image.rows()));
}
