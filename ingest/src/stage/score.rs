//! Score: the answer for each vector.

use slipring::pipeline::{ColumnError, ColumnReader, ColumnWriter, Outcome, View};

use super::request::Request;
use crate::wire::frames::Status;

/// The service's answer for a vector.
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

impl Score {
    /// The factors for the components of a vector, if any.
    pub(super) fn weights(self, dim: usize) -> Option<Vec<f32>> {
        (self == Self::Weighted).then(|| (1..=dim).map(|weight| weight as f32).collect())
    }
}

/// The handler of the stage `score`: writes one score per vector into its column, for requests that
/// validate let pass, from what validate added up.
pub fn scorer(
    score: Score,
    verdicts: ColumnReader<u8>,
    results: ColumnReader<f32>,
    mut scores: ColumnWriter<f32>,
) -> impl FnMut(View<'_, Request>) -> Outcome + Send {
    move |view| {
        let (passed, results) = match (verdicts.row(&view), results.row(&view)) {
            (Ok(row), Ok(results)) => (row[0] == Status::Ok as u8, results),
            (Err(error), _) | (_, Err(error)) => return column_failed(error),
        };
        if !passed {
            return Outcome::Done;
        }
        let vectors = view.meta().vectors as usize;
        let out = match scores.row(&view) {
            Ok(row) => row,
            Err(error) => return column_failed(error),
        };
        let (Some(out), Some(results)) = (out.get_mut(..vectors), results.get(..vectors)) else {
            return Outcome::Fail(format!("score: {vectors} vectors in a column of fewer"));
        };
        match score {
            Score::Sum | Score::Weighted => out.copy_from_slice(results),
            Score::None => out.fill(0.0),
        }
        Outcome::Done
    }
}

fn column_failed(error: ColumnError) -> Outcome {
    Outcome::Fail(format!("score's columns: {error}"))
}
