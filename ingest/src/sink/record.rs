//! The record of a data folder: for which vectors it was made.

use std::fs;
use std::io::Write;
use std::path::Path;

use serde_json::Value;

use super::dim::check_dim;
use super::files::{self, DataMode};
use super::{Columns, SinkError, layout};

/// The format that this version writes. Format 1 had no columns, and other names.
const FORMAT: u64 = 2;
const OLD_FORMAT: u64 = 1;

/// What a folder's segments hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub dim: u32,
    pub columns: Columns,
}

/// The folder's record, if it has one. After a crash during a migration there may be two, which
/// must agree.
pub(super) fn read(dir: &Path) -> Result<Option<Record>, SinkError> {
    let old = read_file(&layout::old_record(dir), OLD_FORMAT)?;
    let current = read_file(&layout::record(dir), FORMAT)?;
    match (current, old) {
        (Some(current), Some(old)) if current.dim != old.dim => Err(SinkError::Record {
            path: layout::old_record(dir),
            why: format!(
                "an earlier version of slipring worked here for dimension {}, after this version \
                did for {}",
                old.dim, current.dim
            ),
        }),
        (current, old) => Ok(current.or(old)),
    }
}

fn read_file(path: &Path, format: u64) -> Result<Option<Record>, SinkError> {
    let Some(text) = files::read_text(path)? else { return Ok(None) };
    let refuse = |why: String| SinkError::Record { path: path.to_owned(), why };
    let record: Value = serde_json::from_str(&text).map_err(|error| refuse(error.to_string()))?;
    if record["format"] != format {
        let found = &record["format"];
        return Err(refuse(format!("format is {found}, this version knows {format} there")));
    }
    let dim = record["dim"]
        .as_u64()
        .and_then(|dim| u32::try_from(dim).ok())
        .filter(|dim| check_dim(*dim).is_ok())
        .ok_or_else(|| refuse(format!("dim is {}", record["dim"])))?;
    let columns = match format {
        OLD_FORMAT => Columns::default(),
        _ => columns_of(&record["columns"])
            .ok_or_else(|| refuse(format!("columns is {}", record["columns"])))?,
    };
    Ok(Some(Record { dim, columns }))
}

fn columns_of(value: &Value) -> Option<Columns> {
    let names: Option<Vec<&str>> = value.as_array()?.iter().map(Value::as_str).collect();
    Columns::of_names(&names?)
}

/// Writes the record in such a way that a crash leaves it complete or absent.
pub(super) fn write(dir: &Path, record: &Record, mode: DataMode) -> Result<(), SinkError> {
    let columns: Vec<&str> = record.columns.names().collect();
    let text = serde_json::json!({ "format": FORMAT, "dim": record.dim, "columns": columns });
    let (path, new) = (layout::record(dir), layout::record_new(dir));
    let mut file = files::open_or_create(&new, mode)?;
    file.set_len(0)
        .and_then(|()| writeln!(file, "{text}"))
        .and_then(|()| file.sync_all())
        .map_err(SinkError::io("write", &new))?;
    fs::rename(&new, &path).map_err(SinkError::io("rename", &new))?;
    files::sync_folder(&layout::own(dir))
}
