//! The service in this process, with its totals as a value.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Parser;
use slipring_ingest::client::Target;
use slipring_ingest::server::{ServeError, ServeOptions, Server, Totals};
use tempfile::TempDir;

use super::client::{Address, Client};

#[derive(Parser)]
struct Words {
    #[command(flatten)]
    options: ServeOptions,
}

/// Options from words of the command line, separated by spaces.
pub fn options(words: &str) -> ServeOptions {
    Words::try_parse_from(["serve"].into_iter().chain(words.split_whitespace()))
        .expect("words of the command line")
        .options
}

/// A running service with its own data folder. Dropping it stops it.
pub struct Service {
    server: Option<Server>,
    pub dim: u32,
    folder: TempDir,
}

impl Service {
    /// Starts a service with these words, on TCP and on a Unix socket, with little memory and with
    /// threads that sleep when idle.
    #[track_caller]
    pub fn start(dim: u32, words: &str) -> Self {
        let folder = super::folder();
        let server =
            try_start(folder.path(), dim, words).unwrap_or_else(|error| panic!("{words}: {error}"));
        Self { server: Some(server), dim, folder }
    }

    pub fn tcp(&self) -> Address {
        Address::Tcp(self.server().tcp().expect("it listens on TCP"))
    }

    pub fn unix(&self) -> Address {
        Address::Unix(self.server().unix().expect("it listens on a Unix socket").to_owned())
    }

    pub fn target(&self) -> Target {
        Target::Tcp(self.server().tcp().expect("it listens on TCP").to_string())
    }

    pub fn count(&self) -> Client {
        Client::count(&self.tcp(), self.dim)
    }

    pub fn header1(&self) -> Client {
        Client::header1(&self.tcp(), self.dim)
    }

    pub fn header(&self) -> Client {
        Client::header(&self.tcp(), self.dim)
    }

    pub fn server(&self) -> &Server {
        self.server.as_ref().expect("it runs")
    }

    pub fn data(&self) -> PathBuf {
        data(self.folder.path())
    }

    /// Stops the service, which must drain completely, and returns the totals. The folder stays.
    #[track_caller]
    pub fn stop(&mut self) -> Totals {
        let totals = self.stop_somehow();
        assert!(totals.is_drained(), "{totals}");
        totals
    }

    /// Stops the service, whether it drains completely or not.
    pub fn stop_somehow(&mut self) -> Totals {
        self.server.take().expect("it runs").stop()
    }
}

fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// Starts a service in `folder`, or returns the error. Options in `words` replace the defaults.
pub fn try_start(folder: &Path, dim: u32, words: &str) -> Result<Server, ServeError> {
    let defaults = format!(
        "--dim {dim} --listen 127.0.0.1:0 --unix {} --data {} --pool 1MiB --slots 256 --pages 4k \
        --wait park",
        folder.join("socket").display(),
        data(folder).display()
    );
    Server::start(&options(&merged(&defaults, words)), Arc::new(|| ()))
}

/// `words`, after those pairs of `defaults` whose options `words` doesn't name. Every option must
/// be a pair.
pub fn merged(defaults: &str, words: &str) -> String {
    let defaults: Vec<&str> = defaults.split_whitespace().collect();
    // A service that stores nothing has no folder.
    let is_null = words.contains("--sink null");
    let named = |flag: &str| {
        words.split_whitespace().any(|word| word == flag) || is_null && flag == "--data"
    };
    let kept: Vec<&str> =
        defaults.chunks(2).filter(|pair| !named(pair[0])).flatten().copied().collect();
    format!("{} {words}", kept.join(" "))
}
