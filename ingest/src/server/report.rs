//! `--report-every`: each lane's figures on standard error, periodically, by a separate thread.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::error::ServeError;
use crate::io::{IoFigures, IoWatch};
use crate::notice::try_notice;

/// The reporting thread. Dropping it ends the thread.
#[derive(Debug)]
pub(super) struct Reporter {
    /// Nothing is ever sent; dropping it ends the thread.
    over: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Reporter {
    /// Reports on these lanes, each time on the difference since the last report.
    pub(super) fn start(lanes: Arc<[IoWatch]>, every: Duration) -> Result<Self, ServeError> {
        let (over, is_over) = channel();
        let before: Vec<IoFigures> = lanes.iter().map(IoWatch::figures).collect();
        let thread = thread::Builder::new()
            .name("report".to_owned())
            .spawn(move || report(&lanes, before, every, &is_over))
            .map_err(|error| ServeError::io("--report-every", &error, "raise the thread limit"))?;
        Ok(Self { over: Some(over), thread: Some(thread) })
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.over = None;
        // Its panic has been reported.
        let _told = self.thread.take().map(JoinHandle::join);
    }
}

fn report(lanes: &[IoWatch], mut before: Vec<IoFigures>, every: Duration, is_over: &Receiver<()>) {
    while is_over.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
        let now: Vec<IoFigures> = lanes.iter().map(IoWatch::figures).collect();
        for (number, (now, before)) in now.iter().zip(&before).enumerate() {
            let lines = now.clone().since(before).to_string();
            lines.lines().for_each(|line| try_notice(format_args!("lane {number}: {line}")));
        }
        before = now;
    }
}
