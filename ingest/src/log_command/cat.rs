//! `slipring log cat`: the vectors of a range of sequences, no further than what is durable.

use std::io::{self, IsTerminal};
use std::ops::Range;

use super::error::LogCommandError;
use super::files::{open_found, short};
use super::options::{CatFormat, CatOptions};
use super::output::Output;
use super::rows::{RowColumns, RowWriter};
use crate::log::{
    AlignedBytes, FileCheck, FileState, LaneFile, NextRecord, RealDisk, RealFile, RecordReader,
    RowShape, SealedSegment, check_live,
};
use crate::notice;
use crate::sink::{DataMode, FolderView, LaneView, OldSegment, StoredRows};

pub(super) fn run(options: &CatOptions, output: &mut Output) -> Result<u8, LogCommandError> {
    let usage = |text: String| Err(LogCommandError::Usage(text));
    let range = options.from..options.to.unwrap_or(u64::MAX);
    if range.start > range.end {
        return usage(format!(
            "--from {} --to {}: the range ends before it begins; name a --to of at least --from",
            range.start, range.end
        ));
    }
    if options.format == CatFormat::Arrow && io::stdout().is_terminal() {
        let text = "standard output is a terminal, and --format arrow writes bytes; redirect it, \
            or use --format csv";
        return usage(text.to_owned());
    }
    let view = FolderView::look(&options.data)?;
    let lane = find_lane(&view, options.lane)?;
    let Some(shape) = view.shape else {
        let data = options.data.display();
        return Err(LogCommandError::Damaged(format!(
            "--data {data}: no file says what its vectors are; name a folder that has some"
        )));
    };
    let number = lane.map_or(0, |lane| lane.lane);
    let writer = RowWriter::new(output, options.format, shape, number)?;
    let disk = RealDisk::new(DataMode::default());
    let next = range.start;
    let mut cat = Cat { options, disk, shape, writer, range, next };
    if let Some(lane) = lane {
        cat.write_lane(lane)?;
    }
    cat.writer.end()?;
    Ok(0)
}

/// The lane asked for, or the only one. None if there is none at all.
fn find_lane(view: &FolderView, asked: Option<u32>) -> Result<Option<&LaneView>, LogCommandError> {
    let numbers = view.lanes.iter().map(|lane| lane.lane.to_string()).collect::<Vec<_>>();
    let found = format!("the folder has the lanes {}; name one of them", numbers.join(", "));
    match (asked, view.lanes.as_slice()) {
        (None, []) => Ok(None),
        (None, [lane]) => Ok(Some(lane)),
        (None, _) => Err(LogCommandError::Usage(format!("--lane is missing: {found}"))),
        (Some(asked), []) => {
            Err(LogCommandError::Usage(format!("--lane {asked}: the folder has no lanes")))
        }
        (Some(asked), lanes) => match lanes.iter().find(|lane| lane.lane == asked) {
            Some(lane) => Ok(Some(lane)),
            None => Err(LogCommandError::Usage(format!("--lane {asked}: {found}"))),
        },
    }
}

struct Cat<'a> {
    options: &'a CatOptions,
    disk: RealDisk,
    shape: RowShape,
    writer: RowWriter<'a>,
    range: Range<u64>,
    /// The sequence that comes next.
    next: u64,
}

impl Cat<'_> {
    fn write_lane(&mut self, lane: &LaneView) -> Result<(), LogCommandError> {
        let mut files = lane.folders.files(&self.disk)?;
        files.retain(|file| matches!(file.state, FileState::Sealed | FileState::Live));
        for (index, file) in files.iter().enumerate() {
            let following = files.get(index + 1..).unwrap_or_default().iter();
            // A live file that is being sealed has both names.
            let mut following = following
                .map(|next| next.first_sequence)
                .filter(|next| *next > file.first_sequence);
            let is_before = following.next().is_some_and(|next| next <= self.range.start);
            if is_before || file.first_sequence >= self.range.end {
                continue;
            }
            // One that is gone is a gap.
            if let Some((opened, file)) = open_found(&self.disk, lane, file, &files)? {
                self.write_file(lane, &opened, &file)?;
            }
        }
        Ok(())
    }

    fn write_file(
        &mut self,
        lane: &LaneView,
        opened: &RealFile,
        file: &LaneFile,
    ) -> Result<(), LogCommandError> {
        let (path, first) = (&file.path, file.first_sequence);
        if file.state == FileState::Live {
            let check = check_live(&self.disk, &lane.folders, opened, path, first, self.shape)?;
            return self.write_live(lane.lane, file, opened, &check);
        }
        let (sealed, ..) = SealedSegment::read(opened, path, first, self.shape)?;
        match sealed.is_old {
            _ if sealed.next_sequence <= self.range.start => Ok(()),
            true => self.write_old(file),
            false => self.write_sealed(file, opened, &sealed),
        }
    }

    fn write_sealed(
        &mut self,
        file: &LaneFile,
        opened: &RealFile,
        sealed: &SealedSegment,
    ) -> Result<(), LogCommandError> {
        let (path, length) = (&file.path, sealed.file_bytes);
        let mut reader = RecordReader::new(opened, path, length, file.first_sequence, self.shape)?;
        let mut memory = AlignedBytes::default();
        while reader.next_sequence() < self.range.end.min(sealed.next_sequence) {
            match reader.next_record()? {
                NextRecord::Record(header) if header.next_sequence() <= self.range.start => {}
                NextRecord::Record(header) => {
                    let view = reader.load(&header, &mut memory)?;
                    self.write_rows(&RowColumns::of_record(&view))?;
                }
                NextRecord::End => return Err(self.damaged(file, reader.at(), "it ends there")),
                NextRecord::Fault(fault) => {
                    return Err(self.damaged(file, reader.at(), &fault.to_string()));
                }
            }
        }
        Ok(())
    }

    fn write_old(&mut self, file: &LaneFile) -> Result<(), LogCommandError> {
        let segment = OldSegment::open(&file.path, self.shape)?;
        let (mut rows, mut next) = (StoredRows::default(), file.first_sequence);
        for index in 0..segment.batches() {
            next = segment.read(index, next, &mut rows)?;
            self.write_rows(&RowColumns::of_stored(&rows))?;
        }
        Ok(())
    }

    fn write_live(
        &mut self,
        lane: u32,
        file: &LaneFile,
        opened: &RealFile,
        check: &FileCheck,
    ) -> Result<(), LogCommandError> {
        let name = short(&self.options.data, &file.path).to_string();
        if check.is_old {
            notice::warn(format_args!(
                "lane {lane}: {name} was left open by an earlier version, and its {} vectors are \
                 left out; slipring log repair makes a segment of them",
                check.rows
            ));
            return Ok(());
        }
        let fault_before = |at: u64| check.faults.iter().find(|fault| fault.at < at);
        let (mut reader, mut memory) = (None, AlignedBytes::default());
        for header in check.records.iter().filter(|record| check.is_durable(record)) {
            if let Some(fault) = fault_before(header.offset()) {
                return Err(self.damaged(file, fault.at, &fault.found));
            }
            let reader = match &reader {
                Some(reader) => reader,
                None => {
                    let (path, first) = (&file.path, file.first_sequence);
                    let new = RecordReader::new(opened, path, check.file_bytes, first, self.shape);
                    &*reader.insert(new?)
                }
            };
            let view = reader.load(header, &mut memory)?;
            self.write_rows(&RowColumns::of_record(&view))?;
        }
        if let Some(fault) = fault_before(check.durable_bytes) {
            return Err(self.damaged(file, fault.at, &fault.found));
        }
        let left_out = check.rows - check.durable_rows();
        if left_out > 0 && self.next < self.range.end {
            notice::info(format_args!(
                "lane {lane}: {left_out} vectors at the end of {name} are left out, because they \
                 aren't known to be on the disk yet"
            ));
        }
        Ok(())
    }

    /// Writes those rows that are in the range and weren't written yet.
    fn write_rows(&mut self, rows: &RowColumns<'_>) -> Result<(), LogCommandError> {
        let range = self.next..self.range.end;
        let Some(rows) = rows.within(&range, self.shape) else { return Ok(()) };
        if rows.first_sequence > self.next {
            notice::warn(format_args!(
                "sequences {} to {} aren't in the log",
                self.next,
                rows.first_sequence - 1
            ));
        }
        self.writer.write(&rows)?;
        self.next = rows.first_sequence + rows.rows as u64;
        Ok(())
    }

    fn damaged(&self, file: &LaneFile, at: u64, found: &str) -> LogCommandError {
        let fix = match file.state {
            FileState::Live => "stop the service and run slipring log repair",
            _ => "restore it from a copy, or write the sequences behind it with --from",
        };
        let file = short(&self.options.data, &file.path);
        LogCommandError::Damaged(format!("{file} at byte {at}: {found}; {fix}"))
    }
}
