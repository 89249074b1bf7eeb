//! The column of ids: which one it is, and its values in a record batch.

use std::borrow::Cow;

use arrow_ipc::{Field, MetadataVersion, Schema};

use super::batch::BatchBody;
use super::column::{BatchPosition, described};
use super::error::{ArrowError, listed};

/// The column that is taken without a name: the one in our own segments.
const USUAL_NAME: &str = "id";

/// A column of integers that are ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IdColumn {
    name: String,
    integer: IdInteger,
    before: BatchPosition,
}

/// The type of such a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct IdInteger {
    /// 1, 2, 4 or 8.
    bytes: usize,
    is_signed: bool,
}

const U64: IdInteger = IdInteger { bytes: 8, is_signed: false };

impl IdColumn {
    /// The column named `wanted`, else the one named `id`: of uint64, or with `convert` of any
    /// integers, none of which may be negative.
    pub(super) fn find(
        schema: &Schema<'_>,
        version: MetadataVersion,
        wanted: Option<&str>,
        convert: bool,
    ) -> Result<IdColumn, ArrowError> {
        let name = wanted.unwrap_or(USUAL_NAME);
        let (mut before, mut found, mut others) =
            (Some(BatchPosition::default()), Vec::new(), Vec::new());
        for field in schema.fields().into_iter().flatten() {
            if field.name() == Some(name) {
                found.push((field, before));
            } else {
                others.push(described(&field));
            }
            before = before.and_then(|before| before.after(&field, version));
        }
        let name = name.to_owned();
        let (field, before) = match found[..] {
            [] => return Err(ArrowError::NoIds { name, others: listed(others) }),
            [only] => only,
            _ => return Err(ArrowError::SameName { name, count: found.len() }),
        };
        let Some(integer) = IdInteger::of(&field) else {
            return Err(ArrowError::IdType { name, found: described(&field) });
        };
        let Some(before) = before else {
            let found = "after a column of an unknown type".to_owned();
            return Err(ArrowError::IdType { name, found });
        };
        if integer != U64 && !convert {
            return Err(ArrowError::IdConvertible { name, found: integer.name() });
        }
        Ok(IdColumn { name, integer, before })
    }

    /// The ids of a batch's rows, as little-endian u64. The first row has this number.
    pub(super) fn ids<'a>(
        &self,
        batch: &BatchBody<'a>,
        first_row: u64,
    ) -> Result<Cow<'a, [u8]>, ArrowError> {
        let (rows, node) = (batch.rows()?, batch.node(self.before.node())?);
        if u64::try_from(node.length()) != Ok(rows) {
            return Err(batch.damaged("its columns aren't those of the schema"));
        }
        let buffer = self.before.buffer(&batch.head);
        if node.null_count() != 0
            && let Some(row) = batch.first_null(buffer, 0..rows)?
        {
            return Err(ArrowError::Nulls { column: self.name.clone(), row: first_row + row });
        }
        let bytes =
            usize::try_from(rows).ok().and_then(|rows| rows.checked_mul(self.integer.bytes));
        let bytes = bytes.ok_or_else(|| batch.damaged("its length is beyond all memory"))?;
        let stored = batch.buffer(buffer.saturating_add(1), bytes)?;
        if self.integer == U64 {
            return Ok(stored);
        }
        let mut ids = Vec::with_capacity(stored.len() / self.integer.bytes * U64.bytes);
        for (row, bytes) in (first_row..).zip(stored.chunks_exact(self.integer.bytes)) {
            match self.integer.value(bytes) {
                Ok(id) => ids.extend_from_slice(&id.to_le_bytes()),
                Err(id) => {
                    return Err(ArrowError::IdNegative { column: self.name.clone(), row, id });
                }
            }
        }
        Ok(Cow::Owned(ids))
    }
}

impl IdInteger {
    fn of(field: &Field<'_>) -> Option<IdInteger> {
        let int = field.type_as_int().filter(|_| field.dictionary().is_none())?;
        let bytes = match int.bitWidth() {
            8 => 1,
            16 => 2,
            32 => 4,
            64 => 8,
            _ => return None,
        };
        Some(IdInteger { bytes, is_signed: int.is_signed() })
    }

    /// The name that people use.
    fn name(self) -> String {
        format!("{}int{}", if self.is_signed { "" } else { "u" }, self.bytes * 8)
    }

    /// A value, or as an error a negative one.
    fn value(self, bytes: &[u8]) -> Result<u64, i64> {
        let is_negative = self.is_signed && bytes.last().is_some_and(|last| last & 0x80 != 0);
        let mut wide = [if is_negative { 0xff } else { 0 }; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        if is_negative { Err(i64::from_le_bytes(wide)) } else { Ok(u64::from_le_bytes(wide)) }
    }
}
