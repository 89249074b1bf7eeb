//! A disk that forgets.
//!
//! - Written bytes are in the cache, and on the disk only after a sync of that file. A crash keeps
//!   any part of what wasn't synced, by sectors of 512 bytes and in any order; a file may have got
//!   its length without its bytes: these are zero, or what other files had there before.
//! - Names are on the disk after a sync of all folders that they are in; a crash keeps any of the
//!   others. A rename is one step.
//! - A sync that fails loses what it should have written, and leaves the pages clean: they can be
//!   read, and the next sync succeeds. Pages may get lost in the background too; then the next sync
//!   of each descriptor that is open says so, once. One that is opened afterwards says nothing.
//! - Any call may fail, a write may be short, and the machine may stop at any call.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use super::super::{Disk, DiskFile, ReadFrom};
use super::random::Random;

const SECTOR: usize = 512;

/// How often calls fail, of 1,000.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub short: u64,
    pub interrupted: u64,
    pub refused: u64,
    /// Writes alone.
    pub write: u64,
    pub sync: u64,
    pub background: u64,
}

#[derive(Debug)]
struct State {
    random: Random,
    faults: Faults,
    /// Calls until the machine stops.
    stop_in: Option<u64>,
    is_stopped: bool,
    /// Of the machine's start: older descriptors are gone.
    start: u64,
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    names_on_disk: BTreeMap<PathBuf, usize>,
    name_changes: Vec<NameChange>,
    /// What earlier files have left on the disk.
    leftovers: Vec<Vec<u8>>,
    /// What the machine's clock says.
    time: SystemTime,
    free_bytes: u64,
    refuses_removals: bool,
}

#[derive(Debug)]
struct Inode {
    cache: Vec<u8>,
    disk: Vec<u8>,
    changes: Vec<Change>,
    /// Failures so far: a descriptor that has seen fewer reports one at its next sync.
    failures: u64,
    modified: SystemTime,
}

impl Default for Inode {
    fn default() -> Self {
        let (cache, disk, changes, failures) = Default::default();
        Self { cache, disk, changes, failures, modified: SystemTime::UNIX_EPOCH }
    }
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Cut(usize),
}

#[derive(Clone, Debug)]
struct NameChange {
    unsynced: BTreeSet<PathBuf>,
    from: Option<PathBuf>,
    to: Option<(PathBuf, usize)>,
}

/// A disk; clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimDisk(Arc<Mutex<State>>);

#[derive(Debug)]
pub struct SimFile {
    disk: SimDisk,
    inode: usize,
    start: u64,
    from: ReadFrom,
    failures_seen: AtomicU64,
}

impl SimDisk {
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            random: Random(seed),
            faults: Faults::default(),
            stop_in: None,
            is_stopped: false,
            start: 0,
            inodes: Vec::new(),
            names: BTreeMap::new(),
            names_on_disk: BTreeMap::new(),
            name_changes: Vec::new(),
            leftovers: Vec::new(),
            time: SystemTime::UNIX_EPOCH,
            free_bytes: u64::MAX,
            refuses_removals: false,
        })))
    }

    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    pub fn time(&self) -> SystemTime {
        self.state().time
    }

    pub fn set_time(&self, time: SystemTime) {
        self.state().time = time;
    }

    /// Says that so much is free; writing doesn't change it.
    pub fn set_free_bytes(&self, bytes: u64) {
        self.state().free_bytes = bytes;
    }

    /// Whether removing a sealed segment fails.
    pub fn refuse_removals(&self, refuses: bool) {
        self.state().refuses_removals = refuses;
    }

    /// The machine stops at the call after this many.
    pub fn stop_in(&self, calls: Option<u64>) {
        self.state().stop_in = calls;
    }

    /// Gives back the memory of files without a name, which nobody may have open.
    pub fn forget_unnamed(&self) {
        let mut state = self.state();
        let used: BTreeSet<usize> = state.names.values().copied().collect();
        for (index, inode) in state.inodes.iter_mut().enumerate() {
            if !used.contains(&index) {
                *inode = Inode::default();
            }
        }
    }

    /// Calls until the machine stops.
    pub fn calls_left(&self) -> Option<u64> {
        self.state().stop_in
    }

    pub fn is_stopped(&self) -> bool {
        self.state().is_stopped
    }

    /// Starts the machine again, with what the disk has kept.
    pub fn restart(&self) {
        self.state().restart();
    }

    /// The bytes of a file, on the disk and in the cache.
    pub fn put(&self, path: &Path, bytes: Vec<u8>) {
        let mut state = self.state();
        let inode = state.inodes.len();
        let modified = state.time;
        state.inodes.push(Inode {
            cache: bytes.clone(),
            disk: bytes,
            modified,
            ..Inode::default()
        });
        state.names.insert(path.into(), inode);
        state.names_on_disk.insert(path.into(), inode);
    }

    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        state.names.get(path).map(|inode| state.inodes[*inode].cache.clone())
    }

    pub fn paths(&self) -> Vec<PathBuf> {
        self.state().names.keys().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn file(&self, inode: usize, from: ReadFrom, state: &State) -> SimFile {
        SimFile {
            disk: self.clone(),
            inode,
            start: state.start,
            from,
            failures_seen: AtomicU64::new(state.inodes[inode].failures),
        }
    }
}

impl State {
    /// What every call begins with.
    fn enter(&mut self) -> io::Result<()> {
        if self.stop_in == Some(0) {
            self.is_stopped = true;
        }
        if self.is_stopped {
            return Err(io::ErrorKind::HostUnreachable.into());
        }
        self.stop_in = self.stop_in.map(|calls| calls - 1);
        if self.random.per_mille(self.faults.background) && !self.inodes.is_empty() {
            let inode = self.random.below(self.inodes.len());
            self.lose(inode);
        }
        if self.random.per_mille(self.faults.interrupted) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        Ok(())
    }

    fn enter_refusing(&mut self) -> io::Result<()> {
        loop {
            match self.enter() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => break done?,
            }
        }
        self.refuse()
    }

    fn refuse(&mut self) -> io::Result<()> {
        if self.random.per_mille(self.faults.refused) {
            let number = [libc::ENOSPC, libc::EIO, libc::ENOMEM][self.random.below(3)];
            return Err(io::Error::from_raw_os_error(number));
        }
        Ok(())
    }

    /// Pages are lost: some sectors of what isn't synced are on the disk, and nothing will bring
    /// the others there.
    fn lose(&mut self, inode: usize) {
        if self.inodes[inode].changes.is_empty() {
            return;
        }
        self.keep_some(inode);
        self.inodes[inode].failures += 1;
    }

    /// Some part of what isn't synced gets on the disk, and the rest doesn't.
    fn keep_some(&mut self, inode: usize) {
        let changes = std::mem::take(&mut self.inodes[inode].changes);
        let mode = self.random.below(4);
        let first = self.random.below(changes.len() + 1);
        let stale = (self.random.below(3) == 0 && !self.leftovers.is_empty())
            .then(|| self.random.below(self.leftovers.len()));
        let stale = stale.map(|index| self.leftovers[index].clone()).unwrap_or_default();
        for (index, change) in changes.into_iter().enumerate() {
            let (at, bytes) = match change {
                Change::Cut(length) if mode != 0 && self.random.per_mille(700) => {
                    self.inodes[inode].disk.resize(length, 0);
                    continue;
                }
                Change::Cut(_) => continue,
                Change::Write(at, bytes) => (at, bytes),
            };
            for sector in (at - at % SECTOR..at + bytes.len()).step_by(SECTOR) {
                let kept = match mode {
                    0 => false,
                    1 => true,
                    2 => index < first || index == first && self.random.per_mille(500),
                    _ => self.random.per_mille(500),
                };
                if kept {
                    let from = sector.max(at);
                    let to = (sector + SECTOR).min(at + bytes.len());
                    self.extend(inode, to, &stale);
                    self.inodes[inode].disk[from..to].copy_from_slice(&bytes[from - at..to - at]);
                }
            }
        }
        let (cached, kept) = (self.inodes[inode].cache.len(), self.inodes[inode].disk.len());
        if cached > kept && self.random.per_mille(500) {
            let longer = kept + 1 + self.random.below(cached - kept);
            self.extend(inode, longer, &stale);
        }
    }

    /// Makes a file on the disk longer, by zeros or by what was there before.
    fn extend(&mut self, inode: usize, length: usize, stale: &[u8]) {
        let disk = &mut self.inodes[inode].disk;
        while disk.len() < length {
            disk.push(stale.get(disk.len()).copied().unwrap_or(0));
        }
    }

    fn write_back(&mut self, inode: usize) {
        let inode = &mut self.inodes[inode];
        for change in std::mem::take(&mut inode.changes) {
            match change {
                Change::Cut(length) => inode.disk.resize(length, 0),
                Change::Write(at, bytes) => {
                    let end = (at + bytes.len()).max(inode.disk.len());
                    inode.disk.resize(end, 0);
                    inode.disk[at..at + bytes.len()].copy_from_slice(&bytes);
                }
            }
        }
        inode.disk.resize(inode.cache.len(), 0);
    }

    fn change_name(&mut self, from: Option<&Path>, to: Option<(&Path, usize)>) {
        let paths = [from, to.map(|(path, _)| path)];
        let folders = paths.into_iter().flatten().filter_map(Path::parent).map(PathBuf::from);
        let change = NameChange {
            unsynced: folders.collect(),
            from: from.map(Into::into),
            to: to.map(|(path, inode)| (path.into(), inode)),
        };
        apply(&mut self.names, &change);
        self.name_changes.push(change);
    }

    fn restart(&mut self) {
        for inode in 0..self.inodes.len() {
            if !self.inodes[inode].changes.is_empty() {
                self.keep_some(inode);
            }
            let inode = &mut self.inodes[inode];
            inode.cache.clone_from(&inode.disk);
            inode.failures = 0;
        }
        let changes = std::mem::take(&mut self.name_changes);
        let mode = self.random.below(4);
        let first = self.random.below(changes.len() + 1);
        for (index, change) in changes.iter().enumerate() {
            let kept = match mode {
                0 => false,
                1 => true,
                2 => index < first,
                _ => self.random.per_mille(500),
            };
            if kept {
                apply(&mut self.names_on_disk, change);
            }
        }
        self.names.clone_from(&self.names_on_disk);
        let used: BTreeSet<usize> = self.names.values().copied().collect();
        for (index, inode) in self.inodes.iter_mut().enumerate() {
            if !used.contains(&index) && !inode.disk.is_empty() {
                self.leftovers.push(std::mem::take(&mut inode.disk));
                inode.cache.clear();
            }
        }
        let extra = self.leftovers.len().saturating_sub(4);
        self.leftovers.drain(..extra);
        self.start += 1;
        self.is_stopped = false;
        self.stop_in = None;
    }
}

fn apply(names: &mut BTreeMap<PathBuf, usize>, change: &NameChange) {
    if let Some(from) = &change.from {
        names.remove(from);
    }
    if let Some((path, inode)) = &change.to {
        names.insert(path.clone(), *inode);
    }
}

impl Disk for SimDisk {
    type File = SimFile;

    fn create_new(&self, path: &Path) -> io::Result<SimFile> {
        let mut state = self.state();
        state.enter_refusing()?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = state.inodes.len();
        state.inodes.push(Inode::default());
        state.change_name(None, Some((path, inode)));
        Ok(self.file(inode, ReadFrom::Cache, &state))
    }

    fn open(&self, path: &Path, from: ReadFrom) -> io::Result<SimFile> {
        let mut state = self.state();
        state.enter_refusing()?;
        let inode = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.file(inode, from, &state))
    }

    fn open_to_read(&self, path: &Path) -> io::Result<SimFile> {
        self.open(path, ReadFrom::Cache)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.state().names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.rename_over(from, to)
    }

    fn rename_over(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.enter_refusing()?;
        let inode = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.change_name(Some(from), Some((to, inode)));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.enter_refusing()?;
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if state.refuses_removals && path.extension().is_some_and(|end| end == "arrow") {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        state.change_name(Some(path), None);
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.enter_refusing()?;
        let changes = std::mem::take(&mut state.name_changes);
        for mut change in changes {
            change.unsynced.remove(folder);
            if change.unsynced.is_empty() {
                apply(&mut state.names_on_disk, &change);
            } else {
                state.name_changes.push(change);
            }
        }
        Ok(())
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut state = self.state();
        state.enter_refusing()?;
        let here = state.names.keys().filter(|path| path.parent() == Some(folder));
        Ok(here.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect())
    }

    fn modified(&self, path: &Path) -> io::Result<SystemTime> {
        let mut state = self.state();
        state.enter_refusing()?;
        let inode = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(state.inodes[inode].modified)
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(self.state().free_bytes)
    }
}

impl SimFile {
    fn enter(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.disk.state();
        state.enter()?;
        assert!(state.start == self.start, "a descriptor of an earlier start");
        Ok(state)
    }
}

impl DiskFile for SimFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut state = self.enter()?;
        let faults = state.faults;
        let is_short = state.random.per_mille(faults.short);
        let most = if is_short { 1 + state.random.below(bytes.len()) } else { bytes.len() };
        state.refuse()?;
        if state.random.per_mille(faults.write) {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        let (at, bytes, time) = (offset as usize, &bytes[..most], state.time);
        let inode = &mut state.inodes[self.inode];
        inode.modified = time;
        inode.cache.resize(inode.cache.len().max(at + most), 0);
        inode.cache[at..at + most].copy_from_slice(bytes);
        inode.changes.push(Change::Write(at, bytes.to_vec()));
        Ok(most)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.enter()?;
        state.refuse()?;
        if self.from == ReadFrom::Disk {
            assert!(offset.is_multiple_of(4096) && bytes.len().is_multiple_of(4096), "alignment");
            state.write_back(self.inode);
        }
        let inode = &state.inodes[self.inode];
        let content = if self.from == ReadFrom::Disk { &inode.disk } else { &inode.cache };
        let left = content.get(offset as usize..).unwrap_or(&[]);
        let count = left.len().min(bytes.len());
        bytes[..count].copy_from_slice(&left[..count]);
        Ok(count)
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.enter()?;
        state.refuse()?;
        Ok(state.inodes[self.inode].cache.len() as u64)
    }

    fn set_modified(&self, time: SystemTime) -> io::Result<()> {
        let mut state = self.disk.state();
        state.enter_refusing()?;
        state.inodes[self.inode].modified = time;
        Ok(())
    }

    fn is_at(&self, path: &Path) -> io::Result<bool> {
        let mut state = self.disk.state();
        state.enter_refusing()?;
        Ok(state.names.get(path) == Some(&self.inode))
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.enter()?;
        state.refuse()?;
        let inode = &mut state.inodes[self.inode];
        inode.cache.resize(bytes as usize, 0);
        inode.changes.push(Change::Cut(bytes as usize));
        Ok(())
    }

    fn allocate(&self, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.enter()?;
        let faults = state.faults;
        if state.random.per_mille(faults.sync) {
            state.lose(self.inode);
        }
        let failures = state.inodes[self.inode].failures;
        if self.failures_seen.swap(failures, Ordering::Relaxed) < failures {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        state.write_back(self.inode);
        Ok(())
    }
}
