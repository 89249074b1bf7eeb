//! The column of vectors: which one it is, and where it is in a record batch.
//!
//! A record batch lists its nodes (a length and a count of nulls per field, children included) and
//! its buffers without names. Which of them belong to a column follows from the types of all
//! columns before it.

use arrow_ipc::{
    Endianness, Field, MetadataVersion, Precision, RecordBatch, Schema, Type, UnionMode,
};

use super::error::{ArrowError, listed};
use crate::vectors::element::Element;

/// The preferred column: the one in our own segments.
const USUAL_NAME: &str = "vector";

/// A column of vectors, and its position in a record batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VectorColumn {
    pub(super) name: String,
    pub(super) list: ListKind,
    pub(super) element: Element,
    /// Nodes and buffers of all columns before it.
    before: BatchPosition,
    /// Those of all columns; None if one behind it has an unknown type.
    all: Option<BatchPosition>,
}

/// The kinds of lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListKind {
    /// All rows have this many components.
    Fixed(u32),
    /// Each row has a length: the differences of offsets of four bytes.
    Offsets32,
    /// The same with offsets of eight bytes.
    Offsets64,
}

impl ListKind {
    /// The length of every row; None if rows have lengths of their own.
    pub(super) fn fixed_dim(self) -> Option<u32> {
        match self {
            ListKind::Fixed(dim) => Some(dim),
            ListKind::Offsets32 | ListKind::Offsets64 => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            ListKind::Fixed(_) => "fixed-size list",
            ListKind::Offsets32 => "list",
            ListKind::Offsets64 => "large list",
        }
    }
}

/// A position in the lists of a record batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct BatchPosition {
    nodes: usize,
    buffers: usize,
    /// Columns of views, each of which has as many further buffers as the batch says.
    views: usize,
}

impl VectorColumn {
    /// The column named `wanted`. Without a name: the one named `vector`, else the only fixed-size
    /// list of f32, else the only list of f32, else the only list that `convert` makes one of f32.
    pub(super) fn find(
        schema: &Schema<'_>,
        version: MetadataVersion,
        wanted: Option<&str>,
        convert: bool,
    ) -> Result<VectorColumn, ArrowError> {
        if schema.endianness() != Endianness::Little {
            return Err(ArrowError::BigEndian);
        }
        let (mut before, mut found, mut others) =
            (Some(BatchPosition::default()), Vec::new(), Vec::new());
        for field in schema.fields().into_iter().flatten() {
            let name = field.name().unwrap_or_default();
            match (list(&field), before) {
                (Some((list, element)), Some(before)) => found.push(VectorColumn {
                    name: name.to_owned(),
                    list,
                    element,
                    before,
                    all: None,
                }),
                (Some(_), None) => {
                    others.push(format!("{name} (after a column of an unknown type)"))
                }
                (None, _) => others.push(described(&field)),
            }
            before = before.and_then(|before| before.after(&field, version));
        }
        let name = wanted.unwrap_or(USUAL_NAME);
        let same_name = schema.fields().into_iter().flatten();
        let count = same_name.filter(|field| field.name() == Some(name)).count();
        let at = match found.iter().position(|column| column.name == name) {
            // A column that isn't a list of numbers may have the usual name.
            Some(_) if count > 1 => {
                return Err(ArrowError::SameName { name: name.to_owned(), count });
            }
            Some(at) => at,
            None => VectorColumn::only(&found, wanted, &others)?,
        };
        let mut column = found.swap_remove(at);
        column.all = before;
        if column.element != Element::F32 && !convert {
            let (kind, element) = (column.list.name(), column.element.name());
            return Err(ArrowError::Convertible { column: column.name, kind, element });
        }
        Ok(column)
    }

    /// The column to use if none has the name.
    fn only(
        found: &[VectorColumn],
        wanted: Option<&str>,
        others: &[String],
    ) -> Result<usize, ArrowError> {
        let listed_columns = |columns: &[usize]| listed(columns.iter().map(|at| &found[*at].name));
        if let Some(name) = wanted {
            let (wanted, all) = (name.to_owned(), (0..found.len()).collect::<Vec<_>>());
            let (vectors, others) = (listed_columns(&all), listed(others));
            return Err(ArrowError::NoColumn { wanted, vectors, others });
        }
        let is_fixed = |column: &VectorColumn| matches!(column.list, ListKind::Fixed(_));
        let is_f32 = |column: &VectorColumn| column.element == Element::F32;
        let kinds = [
            ("fixed-size lists of f32", true, true),
            ("lists of f32", true, false),
            ("fixed-size lists of numbers", false, true),
            ("lists of numbers", false, false),
        ];
        for (kind, of_f32, fixed) in kinds {
            let is_of_kind =
                |column: &VectorColumn| (!of_f32 || is_f32(column)) && (!fixed || is_fixed(column));
            let columns: Vec<usize> =
                (0..found.len()).filter(|at| is_of_kind(&found[*at])).collect();
            match columns[..] {
                [] => {}
                [at] => return Ok(at),
                _ => {
                    let (kind, vectors) = (kind.to_owned(), listed_columns(&columns));
                    return Err(ArrowError::Several { kind, vectors });
                }
            }
        }
        Err(ArrowError::NoVectors { others: listed(others) })
    }

    /// Whether a batch has exactly the nodes and buffers of the schema's columns. If it hasn't,
    /// those of this column may be another's.
    pub(super) fn fits(&self, batch: &RecordBatch<'_>) -> bool {
        let Some(all) = self.all else { return true };
        all.nodes == batch.nodes().map_or(0, |nodes| nodes.len())
            && all.views == batch.variadicBufferCounts().map_or(0, |counts| counts.len())
            && all.buffer(batch) == batch.buffers().map_or(0, |buffers| buffers.len())
    }

    /// Index of the column's first node; that of its items follows.
    pub(super) fn first_node(&self) -> usize {
        self.before.node()
    }

    /// Index of the column's first buffer in this batch.
    pub(super) fn first_buffer(&self, batch: &RecordBatch<'_>) -> usize {
        self.before.buffer(batch)
    }
}

impl BatchPosition {
    /// Index of the next column's first node.
    pub(super) fn node(self) -> usize {
        self.nodes
    }

    /// Index of the next column's first buffer in this batch.
    pub(super) fn buffer(self, batch: &RecordBatch<'_>) -> usize {
        let counts = batch.variadicBufferCounts();
        let views = counts.iter().flat_map(|counts| counts.iter()).take(self.views);
        let extra = views
            .map(|count| usize::try_from(count).unwrap_or(usize::MAX))
            .fold(0, usize::saturating_add);
        self.buffers.saturating_add(extra)
    }

    /// The position after a field and its children; None if the field's type is unknown.
    pub(super) fn after(
        mut self,
        field: &Field<'_>,
        version: MetadataVersion,
    ) -> Option<BatchPosition> {
        if !(Type::ENUM_MIN + 1..=Type::ENUM_MAX).contains(&field.type_type().0) {
            return None;
        }
        self.nodes += 1;
        if field.dictionary().is_some() {
            // The batch holds only the indices: validity and integers.
            self.buffers += 2;
            return Some(self);
        }
        // Before version 5 all types but null had a buffer of validity.
        let validity_of_v4 = usize::from(version < MetadataVersion::V5);
        self.buffers += match field.type_type() {
            Type::Null => 0,
            Type::RunEndEncoded => validity_of_v4,
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
                1 + usize::from(dense) + validity_of_v4
            }
            // Numbers, lists, maps, and the first two buffers of views.
            _ => 2,
        };
        self.views += usize::from(matches!(field.type_type(), Type::BinaryView | Type::Utf8View));
        field
            .children()
            .into_iter()
            .flatten()
            .try_fold(self, |position, child| position.after(&child, version))
    }
}

/// The kind of list and its components, if a field is a list of numbers that can be sent, and not
/// dictionary-encoded.
fn list(field: &Field<'_>) -> Option<(ListKind, Element)> {
    let item = field.children().filter(|children| children.len() == 1)?.get(0);
    if field.dictionary().is_some() || item.dictionary().is_some() {
        return None;
    }
    let kind = match field.type_type() {
        Type::FixedSizeList => {
            ListKind::Fixed(u32::try_from(field.type_as_fixed_size_list()?.listSize()).ok()?)
        }
        Type::List => ListKind::Offsets32,
        Type::LargeList => ListKind::Offsets64,
        _ => return None,
    };
    Some((kind, element(&item)?))
}

fn element(item: &Field<'_>) -> Option<Element> {
    if let Some(int) = item.type_as_int() {
        let element = if int.is_signed() { Element::I8 } else { Element::U8 };
        return (int.bitWidth() == 8).then_some(element);
    }
    match item.type_as_floating_point()?.precision() {
        Precision::HALF => Some(Element::F16),
        Precision::SINGLE => Some(Element::F32),
        Precision::DOUBLE => Some(Element::F64),
        _ => None,
    }
}

pub(super) fn described(field: &Field<'_>) -> String {
    let name = |field: &Field<'_>| field.type_type().variant_name().unwrap_or("unknown");
    let items = field.children().filter(|children| children.len() == 1);
    let items = items.map(|children| format!(" of {}", name(&children.get(0))));
    let name = name(field);
    format!("{} ({name}{})", field.name().unwrap_or_default(), items.unwrap_or_default())
}
