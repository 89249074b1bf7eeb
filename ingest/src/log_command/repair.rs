//! `slipring log repair`: what a start of a service does with what a crash left, and nothing else.

use serde_json::{Value, json};

use super::dry_disk::DryDisk;
use super::error::LogCommandError;
use super::files::short;
use super::options::RepairOptions;
use super::output::Output;
use crate::log::{
    Disk, LaneLog, LogFolders, LogOptions, RealDisk, RecoveredFile, Recovery, RowShape,
    random_epoch,
};
use crate::sink::{DataDir, DataMode, DataOptions, FolderView, LookLock};

#[derive(Debug, Default)]
struct RepairSums {
    lanes: u64,
    /// Files that were made whole, or kept.
    files: u64,
    vectors: u64,
    torn_bytes: u64,
    damaged: u64,
    is_migrated: bool,
}

struct Repair<'a> {
    options: &'a RepairOptions,
    output: &'a mut Output,
    shape: RowShape,
    epoch: u64,
    sums: RepairSums,
}

pub(super) fn run(options: &RepairOptions, output: &mut Output) -> Result<u8, LogCommandError> {
    let view = FolderView::look(&options.data)?;
    let Some(shape) = view.shape else {
        let data = options.data.display();
        return Err(LogCommandError::Damaged(format!(
            "--data {data}: no file says what its vectors are, so there is nothing to repair; name \
             a folder that has some"
        )));
    };
    let mode = options.data_mode.unwrap_or_default();
    let (epoch, sums) = (random_epoch(), RepairSums::default());
    let mut repair = Repair { options, output, shape, epoch, sums };
    if options.dry_run {
        let _lock = LookLock::on(&options.data)?;
        // Nothing changes from here on.
        let view = FolderView::look(&options.data)?;
        let disk = DryDisk::new(RealDisk::new(DataMode::default()));
        repair.sums.is_migrated = view.is_old;
        for lane in view.lanes {
            repair.repair_lane(disk.clone(), lane.folders, lane.lane)?;
        }
    } else {
        let data = DataOptions { dim: shape.dim, columns: shape.columns, mode };
        let dir = DataDir::open_with(&options.data, data)?;
        repair.sums.is_migrated = dir.was_migrated();
        for lane in dir.lanes()? {
            repair.repair_lane(RealDisk::new(mode), dir.lane_folders(lane)?, lane)?;
        }
    }
    repair.say_sums()?;
    Ok(0)
}

impl Repair<'_> {
    fn repair_lane<D: Disk>(
        &mut self,
        disk: D,
        folders: LogFolders,
        lane: u32,
    ) -> Result<(), LogCommandError> {
        let (mut log, recovery) =
            LaneLog::open(disk, folders, LogOptions::new(self.shape, lane, self.epoch))?;
        log.close()?;
        self.sums.lanes += 1;
        for file in &recovery.files {
            self.say_file(lane, file)?;
        }
        self.say_lane(lane, &recovery)
    }

    fn say_file(&mut self, lane: u32, file: &RecoveredFile) -> Result<(), LogCommandError> {
        self.sums.files += 1;
        self.sums.vectors += file.rows();
        self.sums.torn_bytes += file.torn_bytes;
        self.sums.damaged += u64::from(file.damage.is_some());
        if !self.options.json {
            let dry = if self.options.dry_run { "would say: " } else { "" };
            return self.line(format!("lane {lane}: {dry}{file}"));
        }
        let name = |path| short(&self.options.data, path).to_string();
        let damage = file.damage.as_ref().map(|damage| {
            json!({ "offset": damage.at, "found": damage.why, "was_durable": damage.was_durable })
        });
        let segments: Vec<String> = file.sealed.iter().map(|sealed| name(&sealed.path)).collect();
        self.line(json!({
            "lane": lane,
            "file": name(&file.path),
            "vectors": file.rows(),
            "torn_bytes_cut": file.torn_bytes,
            "segments": segments,
            "kept": file.kept.as_deref().map(name),
            "is_apart": file.is_apart,
            "damage": damage,
        }))
    }

    fn say_lane(&mut self, lane: u32, recovery: &Recovery) -> Result<(), LogCommandError> {
        let (sealed, next) = (recovery.sealed.len(), recovery.next_sequence);
        if self.options.json {
            return self.line(json!({
                "lane": lane,
                "sealed_segments": sealed,
                "was_clean": recovery.was_clean,
                "next_sequence": next,
            }));
        }
        let was = if recovery.was_clean {
            "it was closed"
        } else {
            "it wasn't closed when it was last written, so they go on behind a gap"
        };
        self.line(format!(
            "lane {lane}: {sealed} segments were sealed already; the next sequence is {next}: {was}"
        ))
    }

    fn say_sums(&mut self) -> Result<(), LogCommandError> {
        let (sums, dry_run) = (&self.sums, self.options.dry_run);
        let line: Value = json!({
            "lanes": sums.lanes,
            "files": sums.files,
            "vectors": sums.vectors,
            "torn_bytes_cut": sums.torn_bytes,
            "damaged_files": sums.damaged,
            "migrated": sums.is_migrated,
            "dry_run": dry_run,
        });
        if self.options.json {
            return self.line(line);
        }
        let done = if dry_run { "nothing was changed; a repair would handle" } else { "repaired" };
        let migrated = match (sums.is_migrated, dry_run) {
            (false, _) => "",
            (true, false) => "; the folder got this version's names",
            (true, true) => "; the folder would get this version's names",
        };
        self.line(format!(
            "{done}: {} files with {} vectors, {} torn bytes, {} damaged{migrated}",
            sums.files, sums.vectors, sums.torn_bytes, sums.damaged
        ))
    }

    fn line(&mut self, line: impl std::fmt::Display) -> Result<(), LogCommandError> {
        self.output.line(line).map_err(LogCommandError::Output)
    }
}
