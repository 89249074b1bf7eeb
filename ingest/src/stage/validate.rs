//! Validate: checks that every component is finite, scores in the same pass, and numbers the rows.

use slipring::pipeline::{ColumnWriter, Outcome, View};

use super::producers::LaneProducers;
use super::request::{Request, Verdict};
use super::rows::{RowSums, all_finite};
use super::score::Score;
use crate::wire::frames::{ID_BYTES, Limits, Status};

/// The handler of the stage `validate`: writes the verdict into its column, and the result of
/// `score` for each vector into another. A finite sum means that its components are finite, so a
/// payload is read once for both.
///
/// It decides which vectors are accepted, and in which order, so it numbers them: the first one is
/// row `first_row`, where the lane's sink continues. With `producers` it also finds the requests
/// that were accepted before.
pub fn validator(
    score: Score,
    limits: Limits,
    first_row: u64,
    mut producers: Option<LaneProducers>,
    mut verdicts: ColumnWriter<Verdict>,
    mut results: ColumnWriter<f32>,
) -> impl FnMut(View<'_, Request>) -> Outcome + Send {
    let (rows, dim) = (RowSums::new(), limits.dim as usize);
    let weights = score.weights(dim);
    let mut next_row = first_row;
    move |view| {
        let request = view.meta();
        let decided = match request.status {
            // A hello is one without vectors.
            Status::Ok => {
                let out = match results.row(&view) {
                    Ok(row) => row,
                    Err(error) => return Outcome::Fail(format!("validate's results: {error}")),
                };
                let status = judge(&view, &limits, out, |values, out| match &weights {
                    Some(weights) => rows.dots(values, weights, out),
                    None => rows.sums(values, dim, out),
                });
                match status {
                    Status::Ok => Verdict { number: next_row as u32, ..Verdict::of(status) },
                    refused => refusal(&view, &limits, refused),
                }
            }
            status => Verdict::of(status),
        };
        let verdict = match &mut producers {
            None => decided,
            Some(lane) => match lane.review(decided, next_row, &view) {
                Ok(verdict) => verdict,
                Err(error) => return Outcome::Fail(error),
            },
        };
        next_row += u64::from(verdict.new_vectors(request));
        match verdicts.row(&view) {
            Ok(row) => row[0] = verdict,
            Err(error) => return Outcome::Fail(format!("validate's column: {error}")),
        }
        Outcome::Done
    }
}

/// The vectors of a request: its payload without the ids before them.
#[inline]
pub(super) fn vectors<'v>(view: &'v View<'_, Request>, limits: &Limits) -> Option<&'v [f32]> {
    const ID_F32S: usize = ID_BYTES / size_of::<f32>();
    let values = view.as_f32s().ok()?;
    if limits.columns.id {
        values.get(view.meta().vectors as usize * ID_F32S..)
    } else {
        Some(values)
    }
}

#[inline]
fn judge(
    view: &View<'_, Request>,
    limits: &Limits,
    out: &mut [f32],
    add_up: impl FnOnce(&[f32], &mut [f32]) -> bool,
) -> Status {
    let count = view.meta().vectors as usize;
    match (vectors(view, limits), out.get_mut(..count)) {
        (Some(values), Some(out)) if values.len() == count * limits.dim as usize => {
            if add_up(values, out) || all_finite(values) { Status::Ok } else { Status::NotFinite }
        }
        // The parser cuts payloads at whole vectors, and no more than a row holds. So this is our
        // own error, and the client's vectors aren't accepted.
        _ => Status::Failed,
    }
}

/// The verdict on a request that is refused for its vectors: which is the first one at fault.
#[cold]
fn refusal(view: &View<'_, Request>, limits: &Limits, status: Status) -> Verdict {
    let at_fault = vectors(view, limits)
        .and_then(|values| values.iter().position(|value| !value.is_finite()))
        .map_or(0, |component| component / limits.dim as usize);
    Verdict { number: at_fault as u32, ..Verdict::of(status) }
}
