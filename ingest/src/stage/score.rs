//! Score: what is answered for each vector.

use slipring::pipeline::{ColumnError, ColumnReader, ColumnWriter, Outcome, View};

use super::request::Request;
use crate::protocol::Status;

/// What the service answers for a vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Score {
    /// The sum of its components.
    #[default]
    Sum,
    /// Its dot product with 1, 2, ... dim.
    Weighted,
    /// Zero.
    None,
}

/// Partial sums that run side by side, so that additions don't wait for each other.
const LANES: usize = 16;

/// The handler of the stage `score`: writes a score a vector into its column, for requests that validate let pass.
pub fn scorer(
    score: Score,
    dim: usize,
    verdicts: ColumnReader<u8>,
    mut scores: ColumnWriter<f32>,
) -> impl FnMut(View<'_, Request>) -> Outcome + Send {
    let weights: Vec<f32> = (1..=dim).map(|weight| weight as f32).collect();
    move |view| {
        let passed = match verdicts.row(&view) {
            Ok(row) => row[0] == Status::Ok as u8,
            Err(error) => return column_failed(error),
        };
        if !passed {
            return Outcome::Done;
        }
        let Ok(rows) = view.rows(dim) else {
            return Outcome::Fail("score: a payload isn't rows of the dimension".to_owned());
        };
        let out = match scores.row(&view) {
            Ok(row) => row,
            Err(error) => return column_failed(error),
        };
        if rows.len() > out.len() {
            return Outcome::Fail(format!("score: {} vectors in a column of {}", rows.len(), out.len()));
        }
        for (out, row) in out.iter_mut().zip(&rows) {
            *out = match score {
                Score::Sum => sum(row),
                Score::Weighted => dot(row, &weights),
                Score::None => 0.0,
            };
        }
        Outcome::Done
    }
}

fn column_failed(error: ColumnError) -> Outcome {
    Outcome::Fail(format!("score's columns: {error}"))
}

pub(super) fn sum(row: &[f32]) -> f32 {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut sums = [0.0f32; LANES];
    for chunk in chunks {
        sums.iter_mut().zip(chunk).for_each(|(sum, value)| *sum += value);
    }
    sums.iter().sum::<f32>() + rest.iter().sum::<f32>()
}

pub(super) fn dot(row: &[f32], weights: &[f32]) -> f32 {
    debug_assert_eq!(row.len(), weights.len());
    let ((chunks, rest), (weight_chunks, weight_rest)) = (row.as_chunks::<LANES>(), weights.as_chunks::<LANES>());
    let mut sums = [0.0f32; LANES];
    for (chunk, weights) in chunks.iter().zip(weight_chunks) {
        for ((sum, value), weight) in sums.iter_mut().zip(chunk).zip(weights) {
            *sum += value * weight;
        }
    }
    sums.iter().sum::<f32>() + rest.iter().zip(weight_rest).map(|(value, weight)| value * weight).sum::<f32>()
}
