//! The operations of the model, and how they are drawn from random numbers.

/// The course of a handler's batch: the number of events that it processes, and what it returns
/// then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    pub(super) good: usize,
    pub(super) then: Then,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Done,
    Retry,
    Fail,
    Panic,
}

/// What is done with reserved bytes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Into {
    Slice,
    Token,
    Received,
    TooLong,
    Dropped,
    Leaked,
}

/// What is done with a claim.
#[derive(Clone, Copy, Debug)]
pub(super) enum And {
    Push,
    Publish,
    Drop,
    Leak,
}

/// What is done with a token, or with a read in flight.
#[derive(Clone, Copy, Debug)]
pub(super) enum Next {
    Commit,
    Receive,
    TooLong,
    Drop,
    Submit,
    Complete,
    Abandon,
    Report,
}

#[derive(Clone, Debug)]
pub(super) enum Op {
    Reserve { len: usize, all_left: bool, used: usize, into: Into, meanwhile: Option<Box<Op>> },
    Claim { len: usize, used: usize, and: And, meanwhile: Option<Box<Op>> },
    Token { pick: usize, used: usize, next: Next },
    Cut { pick: usize, skip: usize, len: usize },
    DropReceived { pick: usize },
    PushSlice { pick: usize, publish: bool },
    PushForeign,
    PushEmpty,
    DropSlice { pick: usize },
    RetainSlice { pick: usize },
    CloneRetained { pick: usize },
    DropRetained { pick: usize },
    Flush,
    PollLane { turn: Turn },
    Reclaim,
    Sleep { full: bool },
    BeginClose,
    End { close: bool, turn: Turn },
    Poll { stage: usize, max: usize, turn: Turn, meanwhile: Option<Box<Op>> },
    Read { stage: usize, max: usize },
    Release { stage: usize, pick: usize },
    ReleaseElsewhere { stage: usize, pick: usize },
    DropHeld { stage: usize, pick: usize },
    LeakHeld { stage: usize, pick: usize },
    RetainHeld { stage: usize, pick: usize },
    WaitForWork { stage: usize },
    Attach { stage: usize },
    DropStage { stage: usize },
}

/// The largest slice of the model's lanes.
pub(super) const MAX: usize = 1024;

fn len_of(number: usize) -> usize {
    match number % 16 {
        0 | 1 => 0,
        2..9 => number / 16 % 200,
        9..14 => number / 16 % (MAX + 1),
        14 => MAX,
        _ => MAX + 1 + number / 16 % 8,
    }
}

fn turn(one: usize, two: usize) -> Turn {
    let then = match two / 7 % 48 {
        0 => Then::Fail,
        1 => Then::Panic,
        2..6 => Then::Retry,
        _ => Then::Done,
    };
    Turn { good: one / 5 % 4, then }
}

fn max_of(number: usize) -> usize {
    [1, 2, 3, 5, 0, usize::MAX, 1, 2][number % 8]
}

fn reserve(one: usize, two: usize, meanwhile: Option<Box<Op>>) -> Op {
    let into = match two % 12 {
        0..5 => Into::Slice,
        5..7 => Into::Token,
        7..9 => Into::Received,
        9 => Into::TooLong,
        10 => Into::Dropped,
        _ => Into::Leaked,
    };
    let all_left = (two / 12).is_multiple_of(5);
    Op::Reserve { len: len_of(one), all_left, used: two / 60, into, meanwhile }
}

/// An operation from three numbers. `deep`: it may contain another, which happens in the middle of
/// it.
fn op(what: u8, one: usize, two: usize, deep: bool) -> Op {
    let (stage, pick, turn) = (one % 4, two, turn(one, two));
    let inner = || match one / 4 % 36 {
        0..11 if deep => Some(Box::new(op(what.rotate_left(3) ^ two as u8, two, one, false))),
        // What matters most in the middle of an operation is a failure.
        11 if deep => Some(Box::new(Op::Poll {
            stage,
            max: 1,
            turn: Turn { good: 0, then: Then::Fail },
            meanwhile: None,
        })),
        12 if deep => Some(Box::new(Op::DropStage { stage })),
        _ => None,
    };
    match what % 100 {
        0..13 => reserve(one, two, inner()),
        13..27 => {
            use And::*;
            let and = [Publish, Publish, Publish, Push, Push, Push, Drop, Leak][two % 8];
            Op::Claim { len: len_of(one), used: two / 8, and, meanwhile: inner() }
        }
        27..34 => {
            use Next::*;
            let next = [Commit, Receive, TooLong, Drop, Submit, Complete, Abandon, Report, Commit]
                [one % 9];
            Op::Token { pick, used: one / 9, next }
        }
        34..37 => Op::Cut { pick, skip: one % 90, len: one / 90 % 200 },
        37 => Op::DropReceived { pick },
        38..46 => Op::PushSlice { pick, publish: one.is_multiple_of(3) },
        46 => Op::PushForeign,
        47 => Op::PushEmpty,
        48..50 => Op::DropSlice { pick },
        50 => Op::RetainSlice { pick },
        51 => Op::CloneRetained { pick },
        52..54 => Op::DropRetained { pick },
        54..59 => Op::Flush,
        59..65 => Op::PollLane { turn },
        65 => Op::Reclaim,
        66 => Op::Sleep { full: one.is_multiple_of(2) },
        67 if one.is_multiple_of(8) => Op::BeginClose,
        67 if one % 8 == 1 => Op::End { close: two.is_multiple_of(2), turn },
        67..83 => Op::Poll { stage, max: max_of(two), turn, meanwhile: inner() },
        83..88 => Op::Read { stage, max: max_of(two) },
        88..95 => Op::Release { stage, pick },
        95 => Op::ReleaseElsewhere { stage, pick },
        96 if (one / 4).is_multiple_of(8) => Op::DropHeld { stage, pick },
        96 if one / 4 % 8 == 1 => Op::LeakHeld { stage, pick },
        96 if one / 4 % 8 == 2 => Op::DropStage { stage },
        96 | 97 => Op::RetainHeld { stage, pick },
        98 => Op::WaitForWork { stage },
        _ => Op::Attach { stage },
    }
}

pub(super) fn op_from((what, one, two): (u8, u16, u16)) -> Op {
    op(what, one.into(), two.into(), true)
}
