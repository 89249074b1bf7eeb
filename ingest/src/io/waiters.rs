//! Connections that aren't read because memory is used up, in the order in which they came: for a
//! carry buffer, or for the memory of their answers.

use std::collections::VecDeque;

use super::buffers::IoBuffers;
use super::conn::{Conn, ConnTable};
use crate::stage::ConnId;

/// The most connections that go on in one round.
const READY_MAX: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Waiters {
    /// With an unfinished frame in their sockets, for which no carry buffer is left.
    carry: VecDeque<ConnId>,
    /// With something to read, whose answers would find no memory.
    output: VecDeque<ConnId>,
}

impl Waiters {
    /// Waits for a carry buffer. Returns false if it does already.
    pub(super) fn wait_for_carry(&mut self, conn: &mut Conn) -> bool {
        let is_new = !conn.waits_for_carry;
        if is_new {
            conn.waits_for_carry = true;
            self.carry.push_back(conn.id);
        }
        is_new
    }

    /// Waits for the memory of its answers. Returns false if it does already.
    pub(super) fn wait_for_output(&mut self, conn: &mut Conn) -> bool {
        let is_new = !conn.waits_for_output;
        if is_new {
            conn.waits_for_output = true;
            self.output.push_back(conn.id);
        }
        is_new
    }

    /// How many wait. Some of them may be gone.
    pub(super) fn len(&self) -> usize {
        self.carry.len() + self.output.len()
    }

    /// How many carry buffers are wanted and can't be had; 0 while some are left.
    pub(super) fn carries_wanted(&self, buffers: &IoBuffers) -> usize {
        if buffers.carry_room() > 0 { 0 } else { self.carry.len() }
    }

    /// Whether connections wait for the memory of their answers.
    #[inline]
    pub(super) fn need_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Whether one of them may go on.
    pub(super) fn is_one_ready(&self, buffers: &IoBuffers) -> bool {
        !self.carry.is_empty() && buffers.carry_room() > 0
            || !self.output.is_empty() && buffers.has_output_room()
    }

    /// Forgets those that are gone.
    pub(super) fn forget_gone(&mut self, table: &mut ConnTable) {
        self.carry.retain(|id| table.get_mut(*id).is_some());
        self.output.retain(|id| table.get_mut(*id).is_some());
    }

    /// Hands those that may go on to `ready`. Memory for answers is theirs already.
    pub(super) fn go_on(
        &mut self,
        table: &mut ConnTable,
        buffers: &mut IoBuffers,
        mut ready: impl FnMut(&mut Conn),
    ) {
        for _ in 0..READY_MAX.min(self.carry.len()) {
            if buffers.carry_room() == 0 {
                break;
            }
            let Some(conn) = self.carry.pop_front().and_then(|id| table.get_mut(id)) else {
                continue;
            };
            conn.waits_for_carry = false;
            ready(conn);
        }
        for _ in 0..READY_MAX.min(self.output.len()) {
            if !buffers.has_output_room() {
                break;
            }
            let Some(conn) = self.output.pop_front().and_then(|id| table.get_mut(id)) else {
                continue;
            };
            conn.waits_for_output = false;
            if conn.readable && !conn.may_be_owed {
                conn.may_be_owed = buffers.may_owe();
                ready(conn);
            }
        }
    }
}
