//! Validate: every component is finite.

use slipring::pipeline::{ColumnWriter, Outcome, View};

use super::request::Request;
use crate::protocol::Status;

/// The handler of the stage `validate`: writes what is to be answered into its column.
pub fn validator(mut verdicts: ColumnWriter<u8>) -> impl FnMut(View<'_, Request>) -> Outcome + Send {
    move |view| {
        let status = match view.meta().status {
            Status::Ok => judge(&view),
            refused => refused,
        };
        match verdicts.row(&view) {
            Ok(row) => row[0] = status as u8,
            Err(error) => return Outcome::Fail(format!("validate's column: {error}")),
        }
        Outcome::Done
    }
}

fn judge(view: &View<'_, Request>) -> Status {
    match view.as_f32s() {
        Ok(values) if all_finite(values) => Status::Ok,
        Ok(_) => Status::NotFinite,
        // The parser cuts payloads at multiples of four: this is our own error, and the client's vectors aren't taken.
        Err(_) => Status::Failed,
    }
}

/// Whether no component is NaN or infinite: an exponent of all ones is either. Without a branch a component, so that it is
/// done many at a time.
pub(super) fn all_finite(values: &[f32]) -> bool {
    const EXPONENT: u32 = 0x7f80_0000;
    let bad = |any: bool, value: &f32| any | (value.to_bits() & EXPONENT == EXPONENT);
    values.chunks(64).all(|chunk| !chunk.iter().fold(false, bad))
}
