//! Validate: checks that every component is finite, and scores in the same pass.

use slipring::pipeline::{ColumnWriter, Outcome, View};

use super::request::Request;
use super::rows::{RowSums, all_finite};
use super::score::Score;
use crate::wire::frames::Status;

/// The handler of the stage `validate`: writes the status into its column, and the result of
/// `score` for each vector into another. A finite sum means that its components are finite, so a
/// payload is read once for both.
pub fn validator(
    score: Score,
    dim: usize,
    mut statuses: ColumnWriter<u8>,
    mut results: ColumnWriter<f32>,
) -> impl FnMut(View<'_, Request>) -> Outcome + Send {
    let (rows, weights) = (RowSums::new(), score.weights(dim));
    move |view| {
        let status = match view.meta().status {
            Status::Ok => {
                let out = match results.row(&view) {
                    Ok(row) => row,
                    Err(error) => return Outcome::Fail(format!("validate's results: {error}")),
                };
                judge(&view, dim, out, |values, out| match &weights {
                    Some(weights) => rows.dots(values, weights, out),
                    None => rows.sums(values, dim, out),
                })
            }
            refused => refused,
        };
        match statuses.row(&view) {
            Ok(row) => row[0] = status as u8,
            Err(error) => return Outcome::Fail(format!("validate's column: {error}")),
        }
        Outcome::Done
    }
}

#[inline]
fn judge(
    view: &View<'_, Request>,
    dim: usize,
    out: &mut [f32],
    add_up: impl FnOnce(&[f32], &mut [f32]) -> bool,
) -> Status {
    let vectors = view.meta().vectors as usize;
    match (view.as_f32s(), out.get_mut(..vectors)) {
        (Ok(values), Some(out)) if values.len() == vectors * dim => {
            if add_up(values, out) || all_finite(values) { Status::Ok } else { Status::NotFinite }
        }
        // The parser cuts payloads at whole vectors, and no more than a row holds. So this is our
        // own error, and the client's vectors aren't accepted.
        _ => Status::Failed,
    }
}
