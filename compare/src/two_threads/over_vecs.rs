//! A rival's channel with heap vectors: the publisher allocates one for each payload, the reader
//! frees it.
//!
//! The allocator is the program's, glibc's: memory freed on another thread than the one that
//! allocated it is its slow case, and the usual one of a program that sends vectors.

use std::marker::PhantomData;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::channel::Channel;
use super::cpus::join;
use super::{Case, Cpus, Reader, Tally, TwoThreads};
use crate::contender::Fill;

pub struct OverVecs<C: Channel> {
    sender: C::Sender<Vec<u8>>,
    reader: JoinHandle<()>,
    tally: Arc<Tally>,
    payload_bytes: usize,
    slots: usize,
    channel: PhantomData<C>,
}

impl<C: Channel> TwoThreads for OverVecs<C> {
    const NAME: &'static str = C::NAME_VEC;

    fn start(case: &Case, cpus: Cpus, mut reader: Reader) -> Result<Self, String> {
        cpus.pin_publisher()?;
        let (sender, receiver) = C::bounded::<Vec<u8>>(case.slots);
        let tally = reader.tally();
        let reader =
            cpus.spawn_reader(move || C::receive(receiver, |payload| reader.read(&payload)));
        let (payload_bytes, slots) = (case.payload_bytes, case.slots);
        Ok(Self { sender, reader, tally, payload_bytes, slots, channel: PhantomData })
    }

    /// Nothing is reserved: it is what a full channel holds.
    fn memory_bytes(&self) -> usize {
        self.slots * self.payload_bytes
    }

    #[inline]
    fn publish(&mut self, first: u64, count: usize, fill: &impl Fill) -> Result<(), String> {
        let bytes = self.payload_bytes;
        let make = |op| {
            let mut payload = Vec::with_capacity(bytes);
            fill.append(op, bytes, &mut payload);
            Ok(payload)
        };
        C::send(&mut self.sender, first..first + count as u64, make, &self.tally)
    }

    fn finish(self) -> Result<(), String> {
        drop(self.sender);
        join(self.reader)
    }
}
