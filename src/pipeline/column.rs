//! Result columns: rows that a stage writes next to the ring for later layers.
//!
//! A column has one row per slot of the ring. Its stage writes a row before it releases the event;
//! stages of later layers read the row before they release the event. The write is ordered before
//! the read by what lets the later stage see the event: a cursor of the disruptor, or the progress
//! that is stored after it.
#![allow(unsafe_code)]

use core::cell::UnsafeCell;
use core::fmt;
use core::slice;
use std::sync::Arc;

use super::policy::Meta;
use super::view::View;

/// The values of a column: ring length times row width.
struct ColumnCells<T> {
    cells: Box<[UnsafeCell<T>]>,
    width: usize,
    rows_mask: usize,
    lane: u32,
    stage: u32,
    layer: usize,
}

// SAFETY: I43. Rows are written by one stage and read by later layers only, ordered by cursors or
// progress; the bounds are those of values that are shared and handed over between threads.
unsafe impl<T: Send + Sync> Sync for ColumnCells<T> {}

impl<T> ColumnCells<T> {
    /// The first cell of the row of `sequence`.
    #[inline]
    fn row(&self, sequence: i64) -> *mut T {
        let row = (sequence as usize) & self.rows_mask;
        debug_assert!(sequence >= 0 && self.cells.len() == (self.rows_mask + 1) * self.width);
        // SAFETY: I43. The number of rows is the mask plus one.
        UnsafeCell::raw_get(unsafe { self.cells.as_ptr().add(row * self.width) })
    }
}

/// Why a row isn't accessible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ColumnError {
    /// The view belongs to another lane.
    OtherLane,
    /// Only the column's own stage writes, and only stages of later layers read.
    WrongStage,
    /// The column's stage died before this event.
    NotWritten,
}

impl fmt::Display for ColumnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherLane => "the view is of another lane than the column",
            Self::WrongStage => "a column is written by its own stage and read by later layers: check the stage's name",
            Self::NotWritten => "the column's stage died before it processed this event",
        })
    }
}

impl std::error::Error for ColumnError {}

/// The writing end, for the column's own stage. Not Clone.
pub struct ColumnWriter<T>(Arc<ColumnCells<T>>);

/// A reading end, for stages of later layers.
pub struct ColumnReader<T>(Arc<ColumnCells<T>>);

/// Both ends of a column of `slots` rows of `width` values; None if there isn't enough memory.
pub(super) fn column<T: Copy + Default>(
    slots: usize,
    width: usize,
    lane: u32,
    stage: u32,
    layer: usize,
) -> Option<(ColumnWriter<T>, ColumnReader<T>)> {
    assert!(slots.is_power_of_two() && width > 0);
    let count = slots.checked_mul(width)?;
    let mut cells = Vec::new();
    cells.try_reserve_exact(count).ok()?;
    cells.resize_with(count, || UnsafeCell::new(T::default()));
    let cells = Arc::new(ColumnCells {
        cells: cells.into(),
        width,
        rows_mask: slots - 1,
        lane,
        stage,
        layer,
    });
    Some((ColumnWriter(Arc::clone(&cells)), ColumnReader(cells)))
}

impl<T: Send + Sync> ColumnWriter<T> {
    /// The row of the event in `view`. At first it holds what was written there one ring length
    /// ago.
    ///
    /// # Errors
    /// The view wasn't shown to this column's stage.
    #[inline]
    pub fn row<'s, M: Meta>(
        &'s mut self,
        view: &'s View<'_, M>,
    ) -> Result<&'s mut [T], ColumnError> {
        if view.lane() != self.0.lane {
            return Err(ColumnError::OtherLane);
        }
        if view.stage() != self.0.stage {
            return Err(ColumnError::WrongStage);
        }
        debug_assert!(view.sequence() >= 0 && self.0.width > 0);
        let row = self.0.row(view.sequence());
        // SAFETY: I43. This stage hasn't released the event, so no later layer reads the row. The
        // writer is borrowed mutably, so nothing else writes the row.
        Ok(unsafe { slice::from_raw_parts_mut(row, self.0.width) })
    }
}

impl<T: Send + Sync> ColumnReader<T> {
    /// The row that the column's stage wrote for the event in `view`.
    ///
    /// # Errors
    /// The view was shown to a stage in the same or an earlier layer, or the column's stage died
    /// before the event.
    #[inline]
    pub fn row<'s, M: Meta>(&'s self, view: &'s View<'_, M>) -> Result<&'s [T], ColumnError> {
        if view.lane() != self.0.lane {
            return Err(ColumnError::OtherLane);
        }
        if view.layer() <= self.0.layer {
            return Err(ColumnError::WrongStage);
        }
        if !view.was_processed_by(self.0.stage) {
            return Err(ColumnError::NotWritten);
        }
        let row = self.0.row(view.sequence());
        // SAFETY: I43. The column's stage has released the event and this one hasn't: the row isn't
        // written until the next lap.
        Ok(unsafe { slice::from_raw_parts(row, self.0.width) })
    }
}

impl<T> Clone for ColumnReader<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for ColumnWriter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ColumnWriter")
            .field("stage", &self.0.stage)
            .field("width", &self.0.width)
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for ColumnReader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ColumnReader")
            .field("stage", &self.0.stage)
            .field("width", &self.0.width)
            .finish_non_exhaustive()
    }
}
