//! An Arrow image that arrives piece by piece gives what the whole image gives.

use super::super::arrow::{ArrowStep, ArrowWalk};
use super::super::batch_image;
use super::*;
use crate::wire::frames::Limits;

/// The dimension and the rows of an image of which more is there step by step: what a step needs,
/// and as many bytes more as `cuts` say in turn.
fn walked(bytes: &[u8], is_file: bool, cuts: &[usize]) -> Result<(u32, Vec<u8>), String> {
    let options = ImageOptions::default();
    let mut walk = ArrowWalk::new(is_file, bytes.len() as u64, u64::MAX);
    let (mut cuts, mut there, mut out) = (cuts.iter().cycle(), 0, Vec::new());
    while walk.at() < bytes.len() as u64 {
        let at = walk.at() as usize;
        let Some(seen) = bytes.get(at..there).filter(|seen| !seen.is_empty()) else {
            there = (at + 1 + cuts.next().unwrap()).min(bytes.len());
            continue;
        };
        match walk.step(seen, &options.columns()).map_err(|error| error.to_string())? {
            ArrowStep::More(needed) => {
                let end = at + needed as usize;
                assert!(end > there && end <= bytes.len(), "{needed} more than {}", seen.len());
                there = (end + cuts.next().unwrap()).min(bytes.len());
            }
            ArrowStep::Pass(_) => {}
            ArrowStep::Batch { bytes, rows } => {
                let batch = &seen[..bytes as usize];
                let image = batch_image(&walk, batch, &options, 64);
                let dim = match image {
                    Ok(image) => {
                        assert_eq!(image.rows(), rows);
                        image.cursor().append_rows(rows, &mut out);
                        Some(image.dim())
                    }
                    // A list of any length, and no row yet.
                    Err(FormatError::Empty) if rows == 0 => None,
                    Err(error) => return Err(error.to_string()),
                };
                walk.pass_batch(bytes, rows, dim);
            }
            ArrowStep::End => break,
        }
    }
    walk.check_end(&options.columns()).map_err(|error| error.to_string())?;
    let dim = walk.dim().ok_or("holds no vector")?;
    Limits::new(dim, 64).check().map_err(|error| error.to_string())?;
    Ok((dim, out))
}

fn images() -> Vec<Vec<u8>> {
    let lists_of_two = |first: u8, rows: u8| {
        let components = (first * 2..(first + rows) * 2).map(f32::from).collect();
        batch(vec![("v", lists(components, 2))])
    };
    let batches = [lists_of_two(0, 3), lists_of_two(3, 0), lists_of_two(3, 40)];
    let crowded = crowd("vector", vec![1.0, 2.0, 3.0, 4.0], 2);
    let streams = [stream(&batches), stream(&batches[2..]), vec![0; 100]].concat();
    let (packed_stream, packed_file) = arrow::packed(&batches, arrow::CODECS[0]);
    vec![
        stream(&batches),
        streams,
        packed_stream,
        stream(std::slice::from_ref(&crowded)),
        file(&batches),
        packed_file,
        file(&[crowded]),
    ]
}

fn whole(bytes: &[u8]) -> Result<(u32, Vec<u8>), String> {
    read(bytes, "a.arrows", &ImageOptions::default())
}

#[test]
fn pieces_of_any_size_give_all_rows() {
    for image in images() {
        let is_file = image.starts_with(b"ARROW1");
        let expected = whole(&image);
        assert!(expected.is_ok(), "{expected:?}");
        for cuts in [&[0][..], &[1], &[7], &[0, 300], &[usize::MAX >> 1]] {
            assert_eq!(walked(&image, is_file, cuts), expected, "{cuts:?}");
        }
        // No cut is taken for a whole image, but one between two streams.
        for end in (8..image.len()).step_by(7) {
            let (cut, expected) = (&image[..end], whole(&image[..end]));
            assert_eq!(walked(cut, is_file, &[3]).ok(), expected.ok(), "{end} of {}", image.len());
        }
    }
}

proptest! {
    /// Also damage is the same, and never a panic.
    #[test]
    fn damaged_pieces_are_what_the_damaged_whole_is(
        kind in 0usize..7,
        edits in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cuts in vec(0usize..200, 1..5),
    ) {
        let mut image = images().swap_remove(kind);
        let is_file = image.starts_with(b"ARROW1");
        for (at, byte) in edits {
            let at = 8 + at.index(image.len() - 8);
            image[at] ^= byte;
        }
        prop_assert_eq!(walked(&image, is_file, &cuts).ok(), whole(&image).ok());
    }
}
