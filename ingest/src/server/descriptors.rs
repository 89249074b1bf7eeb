//! File descriptors: how many connections the process has room for.
//!
//! A sink opens one file per segment. If connections could take the last descriptor, idle clients
//! could stop the sink, and with it every client. So lanes accept fewer connections than
//! configured, and report it.

use rustix::process::{Resource, getrlimit};

use super::error::ServeError;
use super::options::ServeOptions;

/// Descriptors of a lane besides its connections: epoll, its eventfd, its bell, two listeners, the
/// open segment, its folder while that is synced, and a connection that is accepted only to be
/// refused.
const LANE_DESCRIPTORS: u64 = 8;
/// Descriptors for `--metrics`: the port, its clients, and one that is refused.
const ADMIN_DESCRIPTORS: u64 = super::admin::CLIENTS_MAX as u64 + 2;
/// The data folder's lock, and some for programs that embed the service.
const PROCESS_DESCRIPTORS: u64 = 4;
/// The assumed number of open descriptors where it can't be read.
const OPEN_DEFAULT: u64 = 16;

/// Connections per lane: as many as requested, or fewer.
pub(super) fn connections_max(options: &ServeOptions) -> Result<u32, ServeError> {
    let (asked, lanes) = (options.max_connections, options.lanes);
    let Some(limit) = getrlimit(Resource::Nofile).current else { return Ok(asked) };
    let open =
        std::fs::read_dir("/proc/self/fd").map_or(OPEN_DEFAULT, |entries| entries.count() as u64);
    let admin = if options.metrics.is_some() { ADMIN_DESCRIPTORS } else { 0 };
    let taken = open + PROCESS_DESCRIPTORS + admin + u64::from(lanes) * LANE_DESCRIPTORS;
    match limit.saturating_sub(taken) / u64::from(lanes) {
        0 => Err(ServeError::Refused(format!(
            "the limit of descriptors is {limit}, and {lanes} lanes need {taken} before the first connection: raise it (ulimit -n)"
        ))),
        room => Ok(u32::try_from(room).unwrap_or(u32::MAX).min(asked)),
    }
}
