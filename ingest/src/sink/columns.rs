//! The columns of a folder's segments.

use std::fmt;

/// The names of the columns.
pub(crate) const SEQUENCE: &str = "sequence";
pub(crate) const VECTOR: &str = "vector";
pub(crate) const ID: &str = "id";
pub(crate) const TIME: &str = "time";

/// A column that a segment may have besides `sequence` and `vector`: `--columns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ColumnWord {
    /// `id: uint64`, from the request.
    Id,
    /// `time: timestamp[us]`, when the request had arrived.
    Time,
}

/// The columns that a log writes besides `sequence` and `vector`, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// `id: uint64`: the client's name for a vector.
    pub id: bool,
    /// `time: timestamp[us]`: when a vector's request had arrived.
    pub time: bool,
}

impl From<&[ColumnWord]> for Columns {
    fn from(words: &[ColumnWord]) -> Self {
        Self { id: words.contains(&ColumnWord::Id), time: words.contains(&ColumnWord::Time) }
    }
}

impl Columns {
    /// The names of the columns, in their order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        [(self.id, ID), (self.time, TIME)].into_iter().filter(|(is, _)| *is).map(|(_, name)| name)
    }

    /// The columns of these names; None for other names or another order.
    pub(crate) fn of_names(names: &[&str]) -> Option<Self> {
        let columns = Self { id: names.contains(&ID), time: names.contains(&TIME) };
        columns.names().eq(names.iter().copied()).then_some(columns)
    }
}

impl fmt::Display for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SEQUENCE}, {VECTOR}")?;
        self.names().try_for_each(|name| write!(f, ", {name}"))
    }
}
