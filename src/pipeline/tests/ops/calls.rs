//! Calls whose shape the library may change: each stands here once.

use super::payload::Tag;
use crate::pipeline::{Claim, CloseReport, LaneGrant};
use crate::ring::Sequence;

/// A lane's reservation.
pub(super) type Reserved<'l> = LaneGrant<'l>;

/// The claim's sequence.
pub(super) fn push(claim: Claim<'_, Tag>, tag: Tag) -> Sequence {
    claim.push(tag)
}

/// As [`push`].
pub(super) fn publish(claim: Claim<'_, Tag>, tag: Tag) -> Sequence {
    claim.publish(tag)
}

/// How a lane ended, as the model has it.
pub(super) struct Ending {
    pub(super) published: u64,
    pub(super) consumed: u64,
    pub(super) late: Vec<String>,
    /// What each stage has processed.
    pub(super) processed: Vec<u64>,
}

impl Ending {
    /// The report says it all, and nothing that isn't so.
    pub(super) fn check(&self, report: &CloseReport) {
        assert_eq!(
            (report.published, report.consumed),
            (self.published, self.consumed),
            "{report:?}"
        );
        let processed: Vec<_> = report.stages.iter().map(|stage| stage.processed).collect();
        assert_eq!(processed, self.processed, "{report:?}");
        assert_eq!(report.late, self.late, "{report:?}");
        let lost_nothing = self.processed.iter().all(|processed| *processed == self.published);
        let is_well = lost_nothing && self.late.is_empty() && report.failure.is_none();
        assert_eq!(report.is_drained(), is_well, "{report:?}");
    }
}
