//! A machine made of files: a folder that stands for `/proc` and `/sys` in tests.

use super::kernel::Roots;
use std::fs;
use std::path::PathBuf;

/// The folder, removed when dropped.
pub(crate) struct FakeMachine {
    folder: PathBuf,
}

impl FakeMachine {
    /// An empty machine. `name` is the test's own, so that tests run side by side.
    pub(crate) fn new(name: &str) -> FakeMachine {
        let folder = std::env::temp_dir().join(format!("slipring-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        FakeMachine { folder }
    }

    /// Writes one file, `proc/...` or `sys/...`.
    pub(crate) fn file(self, path: &str, text: &str) -> FakeMachine {
        let path = self.folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    pub(crate) fn roots(&self) -> Roots {
        Roots { proc_dir: self.folder.join("proc"), sys_dir: self.folder.join("sys") }
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
