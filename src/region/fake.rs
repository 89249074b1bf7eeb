//! A machine made of files: a folder that replaces `/proc` and `/sys` in tests.

use super::kernel::Roots;
use super::map::page_bytes;
use std::fs;
use std::path::PathBuf;

/// The folder, removed when dropped.
pub(crate) struct FakeMachine {
    folder: PathBuf,
    page_bytes: usize,
}

impl FakeMachine {
    /// An empty machine. `name` is the test's own, so that tests run side by side.
    pub(crate) fn new(name: &str) -> FakeMachine {
        let folder = std::env::temp_dir().join(format!("slipring-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        FakeMachine { folder, page_bytes: page_bytes() }
    }

    /// Writes one file, `proc/...` or `sys/...`.
    pub(crate) fn file(self, path: &str, text: &str) -> FakeMachine {
        let path = self.folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    /// Base pages of so many bytes, which the machine that runs the test must be able to map: no
    /// fewer than its own.
    pub(crate) fn pages_of(mut self, page_bytes: usize) -> FakeMachine {
        self.page_bytes = page_bytes;
        self
    }

    pub(crate) fn roots(&self) -> Roots {
        let folder = |name: &str| self.folder.join(name);
        Roots { proc_dir: folder("proc"), sys_dir: folder("sys"), page_bytes: self.page_bytes }
    }

    /// The machine's `/sys` beside the real `/proc`.
    pub(crate) fn roots_with_real_proc(&self) -> Roots {
        Roots { proc_dir: "/proc".into(), ..self.roots() }
    }

    pub(crate) fn sys(&self, path: &str) -> PathBuf {
        self.folder.join("sys").join(path)
    }
}

impl Drop for FakeMachine {
    fn drop(&mut self) {
        // A folder left behind is no reason to fail a test that passed.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
