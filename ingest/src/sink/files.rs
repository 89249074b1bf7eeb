//! Files and folders of a data folder: created with the permissions asked for, and never reached
//! through a symbolic link, because somebody else may have put that there.
//!
//! This is about names below the data folder. The folder's own path may lead through links: its
//! user named it.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::str::FromStr;

use super::SinkError;

/// The most bytes of a small file that is read whole: the record, or the lock's process id.
const TEXT_BYTES_MAX: u64 = 64 << 10;

/// Permissions of the files that are created in a data folder. A folder also gets the right to
/// enter it wherever its files get the right to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataMode {
    files: u32,
    /// Whether the process's umask is without effect.
    exact: bool,
}

impl Default for DataMode {
    /// 0640, and 0750 for folders; the umask may take away from that.
    fn default() -> Self {
        Self { files: 0o640, exact: false }
    }
}

impl FromStr for DataMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let octal = !text.is_empty() && text.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
        let bits = u32::from_str_radix(text, 8).ok().filter(|_| octal);
        match bits {
            Some(files) if files & !0o666 == 0 && files & 0o600 == 0o600 => {
                Ok(Self { files, exact: true })
            }
            _ => Err(format!(
                "{text:?} isn't a mode for files: give octal digits that let the owner read and \
                write and nobody execute, such as 0600, 0640 or 0644"
            )),
        }
    }
}

impl fmt::Display for DataMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.files)
    }
}

impl DataMode {
    /// The bits of a file.
    pub(crate) fn files(self) -> u32 {
        self.files
    }

    fn folders(self) -> u32 {
        self.files | (self.files & 0o444) >> 2
    }

    /// The exact permissions, where the umask isn't to take away from them.
    pub(crate) fn exactly(self, bits: u32) -> Option<Permissions> {
        self.exact.then(|| Permissions::from_mode(bits))
    }
}

/// Creates a file that must not exist.
pub(super) fn create_new(path: &Path, mode: DataMode) -> Result<File, SinkError> {
    let mut options = OpenOptions::new();
    let created = options.read(true).write(true).create_new(true).mode(mode.files).open(path);
    let file = created.map_err(|error| refusal("create", path, error))?;
    if let Some(permissions) = mode.exactly(mode.files) {
        file.set_permissions(permissions).map_err(SinkError::io("set the mode of", path))?;
    }
    Ok(file)
}

/// Opens a file for reading and writing, and creates it if it is missing.
pub(super) fn open_or_create(path: &Path, mode: DataMode) -> Result<File, SinkError> {
    match open(path, OpenOptions::new().read(true).write(true))? {
        Some(file) => Ok(file),
        None => create_new(path, mode),
    }
}

/// Opens a file that may be missing.
pub(super) fn open(path: &Path, options: &mut OpenOptions) -> Result<Option<File>, SinkError> {
    // Opening a pipe must not wait for its other end.
    let opened = options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refusal("open", path, error)),
    };
    match file.metadata().map_err(SinkError::io("look at", path))?.is_file() {
        true => Ok(Some(file)),
        false => Err(SinkError::Place { path: path.into(), found: "no file", needed: "file" }),
    }
}

/// The content of a small file, if it exists.
pub(super) fn read_text(path: &Path) -> Result<Option<String>, SinkError> {
    let Some(file) = open(path, OpenOptions::new().read(true))? else { return Ok(None) };
    let mut text = String::new();
    file.take(TEXT_BYTES_MAX).read_to_string(&mut text).map_err(SinkError::io("read", path))?;
    Ok(Some(text))
}

/// Creates a folder below another one, unless it exists.
pub(super) fn create_folder(path: &Path, mode: DataMode) -> Result<(), SinkError> {
    match DirBuilder::new().mode(mode.folders()).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return check_folder(path),
        Err(error) => return Err(SinkError::io("create the folder", path)(error)),
    }
    if let Some(permissions) = mode.exactly(mode.folders()) {
        fs::set_permissions(path, permissions).map_err(SinkError::io("set the mode of", path))?;
    }
    path.parent().map_or(Ok(()), sync_folder)
}

/// Creates the data folder and the folders above it, as far as they are missing.
pub(super) fn create_folders(path: &Path, mode: DataMode) -> Result<(), SinkError> {
    let above = path.ancestors().take_while(|folder| !folder.as_os_str().is_empty());
    let missing: Vec<&Path> = above.take_while(|folder| !folder.exists()).collect();
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(mode.folders()).create(path).map_err(|error| {
        match (error.kind(), missing.iter().find(|folder| folder.is_symlink())) {
            (io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound, Some(&link)) => {
                SinkError::DanglingLink { path: path.into(), link: link.into() }
            }
            (io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory, _) => {
                SinkError::NotAFolder { path: path.into() }
            }
            _ => SinkError::io("create the folder", path)(error),
        }
    })?;
    // Each created folder is an entry of its parent, so the parent is synced.
    for created in missing {
        if let Some(permissions) = mode.exactly(mode.folders()) {
            let set = fs::set_permissions(created, permissions);
            set.map_err(SinkError::io("set the mode of", created))?;
        }
        let above = created.parent().filter(|above| !above.as_os_str().is_empty());
        sync_folder(above.unwrap_or(Path::new(".")))?;
    }
    Ok(())
}

/// Refuses what isn't a folder itself.
pub(super) fn check_folder(path: &Path) -> Result<(), SinkError> {
    let found = fs::symlink_metadata(path).map_err(SinkError::io("look at", path))?;
    match found.file_type() {
        kind if kind.is_dir() => Ok(()),
        kind if kind.is_symlink() => Err(link(path, "folder")),
        _ => Err(SinkError::Place { path: path.into(), found: "a file", needed: "folder" }),
    }
}

/// Whether there is anything at a path, be it a link that leads nowhere.
pub(super) fn is_there(path: &Path) -> Result<bool, SinkError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(SinkError::io("look for", path)(error)),
    }
}

/// Syncs a folder, so that the names created in it survive a crash.
pub(super) fn sync_folder(folder: &Path) -> Result<(), SinkError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(SinkError::io("sync the folder", folder))
}

/// The names in a folder that are valid text, as all of ours are.
pub(super) fn names(folder: &Path) -> Result<Vec<String>, SinkError> {
    let io = || SinkError::io("read the folder", folder);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(io())? {
        names.extend(entry.map_err(io())?.file_name().into_string().ok());
    }
    Ok(names)
}

fn refusal(action: &'static str, path: &Path, error: io::Error) -> SinkError {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => link(path, "file"),
        Ok(found) if found.is_dir() => {
            SinkError::Place { path: path.into(), found: "a folder", needed: "file" }
        }
        _ => SinkError::io(action, path)(error),
    }
}

fn link(path: &Path, needed: &'static str) -> SinkError {
    SinkError::Place { path: path.into(), found: "a symbolic link", needed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read() {
        for (text, files, folders) in
            [("0640", 0o640, 0o750), ("600", 0o600, 0o700), ("0664", 0o664, 0o775)]
        {
            let mode: DataMode = text.parse().unwrap();
            assert_eq!((mode.files, mode.folders(), mode.exact), (files, folders, true));
        }
        assert_eq!(DataMode::default().to_string(), "0640");
        for wrong in ["", "0", "0440", "0755", "0o640", "+640", "u=rw", "1640", "99", "77777777777"]
        {
            assert!(wrong.parse::<DataMode>().unwrap_err().contains("0640"), "{wrong}");
        }
    }
}
