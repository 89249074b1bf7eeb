//! Score: the answer for each vector.

use slipring::pipeline::{ColumnReader, ColumnWriter, Outcome, View};

use super::request::Request;

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

    /// The column that holds the scores. A score that is a sum isn't copied: it stays in `results`,
    /// where validate has written it.
    pub fn column(
        self,
        results: ColumnReader<f32>,
        scores: ColumnReader<f32>,
    ) -> ColumnReader<f32> {
        match self {
            Self::Sum | Self::Weighted => results,
            Self::None => scores,
        }
    }
}

/// The handler of the stage `score`: writes one score per vector into its column, unless the scores
/// are what validate has added up ([`Score::column`]).
pub fn scorer(
    score: Score,
    mut scores: ColumnWriter<f32>,
) -> impl FnMut(View<'_, Request>) -> Outcome + Send {
    move |view| {
        if score != Score::None {
            return Outcome::Done;
        }
        let vectors = view.meta().vectors as usize;
        match scores.row(&view) {
            Ok(row) => match row.get_mut(..vectors) {
                Some(scores) => scores.fill(0.0),
                None => {
                    return Outcome::Fail(format!("score: {vectors} vectors in a column of fewer"));
                }
            },
            Err(error) => return Outcome::Fail(format!("score's columns: {error}")),
        }
        Outcome::Done
    }
}
