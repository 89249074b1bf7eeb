//! `slipring log verify`: every record of every lane.

use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::error::LogCommandError;
use super::files::{open_found, short};
use super::options::VerifyOptions;
use super::output::Output;
use crate::log::{
    FileCheck, FileState, LaneFile, LogError, RealDisk, RealFile, RowShape, check_live, check_old,
    check_sealed,
};
use crate::sink::{DataMode, FolderView, LaneView, OldSegment, SinkError, StoredRows};

/// How often a live file is looked at again before damage in it is believed: a service may be
/// writing there.
const LOOKS: usize = 3;
const PAUSE: Duration = Duration::from_millis(100);

const RESTORE: &str = "restore the file from a copy; the vectors around the damage are as written";
const REPAIR: &str = "stop the service and run slipring log repair: it saves the whole records \
    around the damage and keeps the file";
const MOVE: &str = "move it out of the folder";

/// What a check of a file has found, for the sums; or why it couldn't be checked.
type Checked = Result<FileCheck, Finding>;

/// Something that a person should know.
#[derive(Debug)]
struct Finding {
    kind: &'static str,
    at: Option<u64>,
    found: String,
    fix: String,
}

impl Finding {
    fn error(at: Option<u64>, found: impl Into<String>, fix: &str) -> Self {
        Self { kind: "error", at, found: found.into(), fix: fix.to_owned() }
    }

    fn gap(found: String) -> Self {
        let fix = "nothing to do if the log wasn't closed, or segments were moved away".to_owned();
        Self { kind: "gap", at: None, found, fix }
    }

    fn note(found: impl Into<String>, fix: &str) -> Self {
        Self { kind: "note", at: None, found: found.into(), fix: fix.to_owned() }
    }

    fn of_error(error: &LogError) -> Self {
        match error {
            LogError::Io { action, source, .. } => Self::error(
                None,
                format!("can't {action} it: {source}"),
                "give this user the right to read it, or check the disk",
            ),
            LogError::NewerVersion { found, known, .. } => Self::error(
                None,
                format!("it has format {found}, this version knows formats up to {known}"),
                "use the version that wrote it",
            ),
            LogError::OtherShape { recorded, asked, .. } => Self::error(
                None,
                format!(
                    "it holds vectors of dimension {} with the columns {}, the folder those of {} \
                     with {}",
                    recorded.dim, recorded.columns, asked.dim, asked.columns
                ),
                MOVE,
            ),
            LogError::NoSegment { why, .. } => Self::error(None, why, RESTORE),
            other => Self::error(None, other.to_string(), RESTORE),
        }
    }
}

#[derive(Debug, Default)]
struct VerifySums {
    lanes: usize,
    vectors: u64,
    /// Those of earlier versions.
    unchecked_vectors: u64,
    segments: u64,
    records: u64,
    torn_bytes: u64,
    errors: u64,
    gaps: u64,
    /// Files whose rows are elsewhere, or have the sequences of others.
    kept: u64,
}

struct Verifier<'a> {
    options: &'a VerifyOptions,
    disk: RealDisk,
    output: &'a mut Output,
    sums: VerifySums,
}

pub(super) fn run(options: &VerifyOptions, output: &mut Output) -> Result<u8, LogCommandError> {
    let view = FolderView::look(&options.data)?;
    let disk = RealDisk::new(DataMode::default());
    let sums = VerifySums { lanes: view.lanes.len(), ..VerifySums::default() };
    let mut verifier = Verifier { options, disk, output, sums };
    for lane in &view.lanes {
        verifier.verify_lane(lane, view.shape)?;
    }
    verifier.say_sums()?;
    Ok(u8::from(verifier.sums.errors > 0))
}

impl Verifier<'_> {
    fn verify_lane(
        &mut self,
        lane: &LaneView,
        shape: Option<RowShape>,
    ) -> Result<(), LogCommandError> {
        // The sequence that comes next.
        let mut expected = 0;
        let open = &lane.folders.open;
        match lane.folders.damaged_next(&self.disk) {
            Ok(None) => {}
            Ok(Some(path)) => {
                let found = "it isn't what was written: which sequences are given isn't known";
                let fix = "the next start writes it anew, and goes on behind a gap";
                self.say(lane.lane, &path, &Finding::error(Some(0), found, fix))?;
            }
            Err(error) => self.say(lane.lane, &open.join("next"), &Finding::of_error(&error))?,
        }
        let files = match lane.folders.files(&self.disk) {
            Ok(files) => files,
            Err(error) => return self.say(lane.lane, open, &Finding::of_error(&error)),
        };
        for found in &files {
            let (opened, file) = match open_found(&self.disk, lane, found, &files) {
                Ok(Some(opened)) => opened,
                Ok(None) => continue,
                Err(error) => {
                    self.count_file(found);
                    self.say(lane.lane, &found.path, &Finding::of_error(&error))?;
                    continue;
                }
            };
            let path = &file.path;
            let checked = match shape {
                Some(shape) => self.check(lane, (&opened, &file), shape),
                None => Err(Finding::error(None, "it doesn't say what its rows hold", MOVE)),
            };
            let check = match checked {
                Ok(check) => check,
                Err(finding) => {
                    self.count_file(&file);
                    self.say(lane.lane, path, &finding)?;
                    continue;
                }
            };
            self.count_file(&file);
            self.say_check(lane.lane, &file, &check)?;
            if !matches!(file.state, FileState::Sealed | FileState::Live) || check.rows == 0 {
                continue;
            }
            let (first, next) = (file.first_sequence, check.next_sequence);
            if first < expected {
                let found = format!(
                    "sequences overlap: it begins with {first}, and the segments \
                    before it go to {}",
                    expected - 1
                );
                self.say(lane.lane, path, &Finding::error(None, found, MOVE))?;
            } else if first > expected {
                let found = format!("sequences {expected} to {} aren't in the log", first - 1);
                self.say(lane.lane, path, &Finding::gap(found))?;
            }
            expected = expected.max(next);
        }
        Ok(())
    }

    /// Checks a file, a live one again if a service may have been writing where it isn't whole.
    fn check(&self, lane: &LaneView, file: (&RealFile, &LaneFile), shape: RowShape) -> Checked {
        for look in 1.. {
            let check = match self.check_once(lane, file, shape) {
                Err(error) => return Err(Finding::of_error(&error)),
                Ok(Some(check)) => check,
                Ok(None) => return check_old_segment(file.1, shape),
            };
            let may_pass = file.1.state == FileState::Live && !check.faults.is_empty();
            if !may_pass || look == LOOKS {
                return Ok(check);
            }
            thread::sleep(PAUSE);
        }
        unreachable!("the last look returns")
    }

    /// None for a complete segment of an earlier version.
    fn check_once(
        &self,
        lane: &LaneView,
        (opened, file): (&RealFile, &LaneFile),
        shape: RowShape,
    ) -> Result<Option<FileCheck>, LogError> {
        let (path, first) = (&file.path, file.first_sequence);
        match file.state {
            FileState::Sealed | FileState::Apart => {
                check_sealed(opened, path, first, (shape, lane.lane))
            }
            FileState::Live => {
                check_live(&self.disk, &lane.folders, opened, path, first, shape).map(Some)
            }
            FileState::Torn => Ok(Some(check_old(opened, path, first, shape)?.unwrap_or_default())),
            FileState::Foreign => {
                let why =
                    "its name isn't seg-, 20 digits, .arrow, so no reader of the log finds it";
                Err(LogError::NoSegment { path: path.clone(), why: why.to_owned() })
            }
            FileState::Damaged | FileState::Copy => Ok(Some(FileCheck::default())),
        }
    }

    fn count_file(&mut self, file: &LaneFile) {
        match file.state {
            FileState::Sealed | FileState::Live => self.sums.segments += 1,
            _ => self.sums.kept += 1,
        }
    }

    /// Says what was found in a file, and counts it.
    fn say_check(
        &mut self,
        lane: u32,
        file: &LaneFile,
        check: &FileCheck,
    ) -> Result<(), LogCommandError> {
        let path = &file.path;
        if matches!(file.state, FileState::Sealed | FileState::Live) {
            self.sums.vectors += check.rows;
            self.sums.records += check.record_count;
            self.sums.torn_bytes += check.torn_bytes;
            self.sums.unchecked_vectors += if check.is_old { check.rows } else { 0 };
        }
        for fault in &check.faults {
            let fix = if file.state == FileState::Live { REPAIR } else { RESTORE };
            self.say(lane, path, &Finding::error(Some(fault.at), &fault.found, fix))?;
        }
        let rows = check.rows;
        match file.state {
            FileState::Damaged => {
                let found = "it is damaged and was kept; a repair has copied what was whole";
                self.say(lane, path, &Finding::note(found, "remove it once you don't need it"))?;
            }
            FileState::Copy => {
                let found =
                    "a copy of a segment: it is being made, or an interrupted start has left it";
                self.say(lane, path, &Finding::note(found, "the next start removes it"))?;
            }
            FileState::Torn => {
                let found = format!("an earlier version left it open, with {rows} whole vectors");
                self.say(
                    lane,
                    path,
                    &Finding::note(found, "the next start makes a segment of it"),
                )?;
            }
            _ if check.is_old => {
                let found = format!("its {rows} vectors have no checksums: an earlier version");
                self.say(lane, path, &Finding::note(found, "nothing to do"))?;
            }
            _ => {}
        }
        if check.torn_bytes > 0 {
            let found = format!("{} bytes behind its last whole vector", check.torn_bytes);
            let fix = "a service is writing them, or the next start cuts them";
            self.say(lane, path, &Finding::note(found, fix))?;
        }
        Ok(())
    }

    fn say(&mut self, lane: u32, path: &Path, finding: &Finding) -> Result<(), LogCommandError> {
        match finding.kind {
            "error" => self.sums.errors += 1,
            "gap" => self.sums.gaps += 1,
            _ => {}
        }
        let (kind, fix) = (finding.kind, &finding.fix);
        let file = short(&self.options.data, path);
        let line = if self.options.json {
            let (file, found) = (file.to_string(), &finding.found);
            json!({
                "kind": kind, "lane": lane, "file": file, "offset": finding.at, "found": found,
                "fix": fix,
            })
            .to_string()
        } else {
            let at = finding.at.map(|at| format!(" at byte {at}")).unwrap_or_default();
            format!("{kind}: {file}{at}: {}; {fix}", finding.found)
        };
        self.output.line(line).map_err(LogCommandError::Output)
    }

    fn say_sums(&mut self) -> Result<(), LogCommandError> {
        let sums = &self.sums;
        let line = if self.options.json {
            json!({
                "lanes": sums.lanes,
                "vectors": sums.vectors,
                "unchecked_vectors": sums.unchecked_vectors,
                "segments": sums.segments,
                "records": sums.records,
                "torn_bytes_cut": sums.torn_bytes,
                "errors": sums.errors,
                "gaps": sums.gaps,
                "kept_files": sums.kept,
            })
            .to_string()
        } else {
            format!(
                "{} vectors in {} records of {} segments ({} of earlier versions, without \
                 checksums); {} torn bytes, {} gaps, {} kept files, {} errors",
                sums.vectors,
                sums.records,
                sums.segments,
                sums.unchecked_vectors,
                sums.torn_bytes,
                sums.gaps,
                sums.kept,
                sums.errors
            )
        };
        self.output.line(line).map_err(LogCommandError::Output)
    }
}

/// Reads a complete segment of an earlier version.
fn check_old_segment(file: &LaneFile, shape: RowShape) -> Checked {
    let wrong = |error: SinkError| match error {
        SinkError::Segment { why, .. } => Finding::error(None, why, RESTORE),
        SinkError::Io { action, source, .. } => {
            let path = file.path.clone();
            Finding::of_error(&LogError::Io { action, path, source })
        }
        other => Finding::error(None, other.to_string(), MOVE),
    };
    let segment = OldSegment::open(&file.path, shape).map_err(wrong)?;
    let mut check = FileCheck { is_old: true, ..FileCheck::default() };
    check.next_sequence = file.first_sequence;
    let mut rows = StoredRows::default();
    for index in 0..segment.batches() {
        let at = segment.at(index);
        let next = segment.read(index, check.next_sequence, &mut rows);
        check.next_sequence = next.map_err(|error| Finding { at: Some(at), ..wrong(error) })?;
        check.record_count += 1;
        check.rows += rows.sequences.len() as u64;
    }
    Ok(check)
}
