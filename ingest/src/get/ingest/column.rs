//! The column of vectors in a schema, and its components in a record batch.
//!
//! A batch lists its nodes (a length and a count of nulls for each field, children included) and
//! its buffers without names: which ones are a column's follows from the types of all columns
//! before it.

use std::ops::Range;

use arrow_ipc::{
    Endianness, Field, MetadataVersion, Precision, RecordBatch, Schema, Type, UnionMode,
};

use super::ArrowError;

/// The preferred column if there are several: the one in our own segments.
pub(super) const USUAL_NAME: &str = "vector";
/// The most names that an error lists.
const LISTED_MAX: usize = 8;
/// The buffers of a list: its validity, its items' validity, its items.
const ITEMS_AT: usize = 2;

/// A column of vectors, and what comes before it in a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    name: String,
    dim: u32,
    before: Places,
}

/// Nodes and buffers of columns. A view has as many more buffers as the batch says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Places {
    nodes: usize,
    buffers: usize,
    views: usize,
}

impl Column {
    /// The column named `wanted`; without a name, the column `vector`, or else the only one of
    /// vectors.
    pub(super) fn find(
        schema: &Schema<'_>,
        version: MetadataVersion,
        wanted: Option<&str>,
    ) -> Result<Column, ArrowError> {
        if schema.endianness() != Endianness::Little {
            return Err(ArrowError::BigEndian);
        }
        let (mut before, mut found, mut others) = (Some(Places::default()), Vec::new(), Vec::new());
        for field in schema.fields().into_iter().flatten() {
            let name = field.name().unwrap_or_default();
            match (dim(&field), before) {
                (Some(dim), Some(before)) => {
                    found.push(Column { name: name.to_owned(), dim, before })
                }
                (Some(_), None) => {
                    others.push(format!("{name} (behind a column of a type that is unknown here)"))
                }
                (None, _) => others.push(described(&field)),
            }
            before = before.and_then(|before| before.with(&field, version));
        }
        let named = |name: &str| found.iter().position(|column| column.name == name);
        let at = match wanted {
            Some(name) => named(name).ok_or_else(|| ArrowError::NoColumn {
                wanted: name.to_owned(),
                vectors: listed(found.iter().map(|column| &column.name)),
                others: listed(&others),
            })?,
            None if found.len() == 1 => 0,
            None if found.is_empty() => {
                return Err(ArrowError::NoVectors { others: listed(&others) });
            }
            None => named(USUAL_NAME).ok_or_else(|| ArrowError::Several {
                vectors: listed(found.iter().map(|column| &column.name)),
            })?,
        };
        Ok(found.swap_remove(at))
    }

    pub(super) fn dim(&self) -> u32 {
        self.dim
    }

    /// The position in the image of the rows of the batch at byte `at`, whose body is `body`: whole
    /// rows of f32.
    pub(super) fn rows(
        &self,
        batch: &RecordBatch<'_>,
        body: Range<usize>,
        at: usize,
    ) -> Result<Range<usize>, ArrowError> {
        if let Some(compression) = batch.compression() {
            let codec = compression.codec().variant_name().unwrap_or("an unknown codec");
            return Err(ArrowError::Compressed { codec });
        }
        let damaged = |why: &str| ArrowError::Damaged { at: at as u64, why: why.to_owned() };
        let rows = u64::try_from(batch.length()).map_err(|_| damaged("its length is negative"))?;
        let items = rows
            .checked_mul(u64::from(self.dim))
            .ok_or_else(|| damaged("its length is beyond all memory"))?;
        let nodes = batch.nodes().ok_or_else(|| damaged("it has no columns"))?;
        for (index, length) in [(self.before.nodes, rows), (self.before.nodes + 1, items)] {
            if index >= nodes.len() || u64::try_from(nodes.get(index).length()) != Ok(length) {
                return Err(damaged("its columns aren't those of the schema"));
            }
            if nodes.get(index).null_count() != 0 {
                return Err(ArrowError::Nulls { column: self.name.clone() });
            }
        }
        let counts = batch.variadicBufferCounts();
        let views = counts.iter().flat_map(|counts| counts.iter()).take(self.before.views);
        let extra = views
            .map(|count| usize::try_from(count).unwrap_or(usize::MAX))
            .fold(0, usize::saturating_add);
        let index = (self.before.buffers + ITEMS_AT).saturating_add(extra);
        let buffers = batch.buffers().filter(|buffers| index < buffers.len());
        let buffer = *buffers
            .ok_or_else(|| damaged("it has fewer buffers than the schema says"))?
            .get(index);
        let place = || {
            let start = body.start.checked_add(usize::try_from(buffer.offset()).ok()?)?;
            let bytes = usize::try_from(items.checked_mul(4)?).ok()?;
            let end = start.checked_add(bytes)?;
            let fits = u64::try_from(buffer.length()).ok()? >= bytes as u64 && end <= body.end;
            fits.then_some(start..end)
        };
        place().ok_or_else(|| damaged("its components lie outside of it"))
    }
}

impl Places {
    /// The nodes and buffers of a field and its children; None if its type is unknown here.
    fn with(mut self, field: &Field<'_>, version: MetadataVersion) -> Option<Places> {
        if !(Type::ENUM_MIN + 1..=Type::ENUM_MAX).contains(&field.type_type().0) {
            return None;
        }
        self.nodes += 1;
        if field.dictionary().is_some() {
            // In a batch there are only its indices: validity and integers.
            self.buffers += 2;
            return Some(self);
        }
        self.buffers += match field.type_type() {
            Type::Null | Type::RunEndEncoded => 0,
            Type::Struct_ | Type::FixedSizeList => 1,
            Type::Binary
            | Type::Utf8
            | Type::LargeBinary
            | Type::LargeUtf8
            | Type::ListView
            | Type::LargeListView => 3,
            Type::Union => {
                let dense =
                    field.type_as_union().is_some_and(|union| union.mode() == UnionMode::Dense);
                1 + usize::from(dense) + usize::from(version < MetadataVersion::V5)
            }
            // Integers and the like, lists, maps, and what views have in any case.
            _ => 2,
        };
        self.views += usize::from(matches!(field.type_type(), Type::BinaryView | Type::Utf8View));
        field
            .children()
            .into_iter()
            .flatten()
            .try_fold(self, |places, child| places.with(&child, version))
    }
}

/// The dimension of a field, if it is a fixed-size list of f32 and not dictionary-encoded.
fn dim(field: &Field<'_>) -> Option<u32> {
    let item = field.children().filter(|children| children.len() == 1)?.get(0);
    let single = item.type_as_floating_point()?.precision() == Precision::SINGLE;
    let plain = field.dictionary().is_none() && item.dictionary().is_none();
    let dim = u32::try_from(field.type_as_fixed_size_list()?.listSize()).ok()?;
    (single && plain).then_some(dim)
}

fn described(field: &Field<'_>) -> String {
    format!(
        "{} ({})",
        field.name().unwrap_or_default(),
        field.type_type().variant_name().unwrap_or("unknown")
    )
}

fn listed<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    let names: Vec<S> = names.into_iter().collect();
    let shown: Vec<&str> = names.iter().take(LISTED_MAX).map(AsRef::as_ref).collect();
    match (shown.is_empty(), names.len() > LISTED_MAX) {
        (true, _) => "none".to_owned(),
        (_, false) => shown.join(", "),
        (_, true) => format!("{}, and {} more", shown.join(", "), names.len() - LISTED_MAX),
    }
}
