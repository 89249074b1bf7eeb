//! How a contender of `class` is verified and timed, each time built anew, with its threads.
//! Repeats are interleaved by [`crate::measure`].

use super::case::{Case, Work, Written};
use super::contender::{Marked, Pool, Untouched};
use super::work::{Figures, Turn, cross, own};
use crate::measure::{self, Repeat};
use crate::memory::resident_bytes;
use crate::payload::{Copied, Pattern, Touch8};
use crate::threads::Placed;

/// Warm-up before the clock, in operations of each thread.
const WARM_OPS: u64 = 20_000;

/// A case and its CPUs.
pub type Setting = Placed<Case>;

/// A contender of `class`.
pub type Runner = measure::Runner<Setting>;

/// It takes part if its design can express the case.
pub fn runner<C: Pool>() -> Runner {
    Runner {
        name: C::NAME,
        emulated: C::EMULATED,
        takes_part: |Setting { case, .. }| {
            (C::CROSSES || case.work != Work::Cross)
                && (C::HAS_LENGTH || case.written == Written::Whole)
        },
        verify: verify::<C>,
        time: time::<C>,
    }
}

fn verify<C: Pool>(setting: &Setting, ops: u64) -> Result<(), String> {
    let Setting { case, cpus } = *setting;
    // Several are held, so that two owners of one buffer show.
    let case = &Case { held: case.held.max(4), ..case };
    let drawn = case.drawn();
    let turn = Turn { case, cpus, drawn: &drawn, fill: &Pattern, warm_ops: ops, ops: 0 };
    run::<C, Pattern>(&turn).map(drop)
}

fn time<C: Pool>(setting: &Setting, ops: u64) -> Result<Repeat, String> {
    let Setting { case, cpus } = setting;
    let drawn = &case.drawn();
    let warm_ops = WARM_OPS.min(ops);
    match case.written {
        Written::Nothing => {
            run::<C, _>(&Turn { case, cpus: *cpus, drawn, fill: &Untouched, warm_ops, ops })
        }
        Written::Touch8 => {
            run::<C, _>(&Turn { case, cpus: *cpus, drawn, fill: &Touch8, warm_ops, ops })
        }
        Written::Whole => {
            let fill = &Copied::new(case.longest_bytes());
            run::<C, _>(&Turn { case, cpus: *cpus, drawn, fill, warm_ops, ops })
        }
    }
}

/// Builds the pool, runs its threads, and measures how much the process grew with it.
fn run<C: Pool, F: Marked>(turn: &Turn<'_, F>) -> Result<Repeat, String> {
    let before_bytes = resident_bytes();
    let pool = C::new().map_err(|error| format!("it can't be built: {error}"))?;
    let Figures { ns_per_op, growth_bytes } = match turn.case.work {
        Work::Own(threads) => own(&pool, turn, threads),
        Work::Cross => cross(&pool, turn),
    }?;
    let memory_bytes = resident_bytes().saturating_sub(before_bytes);
    Ok(Repeat { ns_per_op, memory_bytes, growth_bytes })
}
