//! The system calls of a traced service, in the order in which they began and ended.
//!
//! strace stops a thread before a call and after it, and writes its lines in the order of these
//! stops. A thread that was stopped after a sync can't have told another one of it yet. So a call
//! whose line comes later began later.

use std::collections::HashMap;

/// What strace is to write.
pub const STRACE: [&str; 8] = ["-D", "-f", "-q", "-y", "-xx", "-s", "8192", "-e"];

/// A call begins, or has ended.
#[derive(Debug, PartialEq)]
pub enum TraceStep {
    Begins(u32, TracedCall),
    Ended(u32, TracedCall, i64),
}

/// A call with its arguments as strace writes them.
#[derive(Clone, Debug, PartialEq)]
pub struct TracedCall {
    pub name: String,
    arguments: String,
}

impl TracedCall {
    /// What the first argument, a descriptor, is open on: a path, or the name of a socket.
    pub fn open_on(&self) -> String {
        let name = self.arguments.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
        String::from_utf8(unescaped(name.map_or("", |(name, _)| name))).unwrap()
    }

    /// The bytes of the text argument; None if strace has cut them.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        let (_, rest) = self.arguments.split_once('"')?;
        let (text, rest) = rest.split_once('"')?;
        (!rest.starts_with("...")).then(|| unescaped(text))
    }

    /// The last argument, a number.
    pub fn last_number(&self) -> u64 {
        let last = self.arguments.rsplit(", ").next().unwrap_or_default();
        last.parse().unwrap_or_else(|_| panic!("no number at the end: {}", self.arguments))
    }
}

/// The steps of a trace that strace wrote with `-f -o`.
pub fn steps(text: &str) -> Vec<TraceStep> {
    let (mut steps, mut open) = (Vec::new(), HashMap::new());
    for line in text.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let thread: u32 = thread.parse().unwrap_or_else(|_| panic!("no thread: {line}"));
        let rest = rest.trim_start();
        if rest.starts_with("+++") || rest.starts_with("---") {
            continue;
        }
        if let Some(resumed) = rest.strip_prefix("<... ") {
            let (_, rest) = resumed.split_once(" resumed>").expect("a call that goes on");
            let mut call: TracedCall = open.remove(&thread).expect("it began");
            let (more, result) = split_result(rest);
            call.arguments.push_str(more);
            steps.extend(result.map(|result| TraceStep::Ended(thread, call, result)));
            continue;
        }
        let (name, rest) = rest.split_once('(').unwrap_or_else(|| panic!("no call: {line}"));
        let call = |arguments: &str| TracedCall { name: name.into(), arguments: arguments.into() };
        if let Some((arguments, _)) = rest.split_once(" <unfinished ...>") {
            steps.push(TraceStep::Begins(thread, call(arguments)));
            open.insert(thread, call(arguments));
            continue;
        }
        let (arguments, result) = split_result(rest);
        steps.push(TraceStep::Begins(thread, call(arguments)));
        steps.extend(result.map(|result| TraceStep::Ended(thread, call(arguments), result)));
    }
    steps
}

/// The arguments that are left, and the result; None if the thread was killed in the call.
fn split_result(rest: &str) -> (&str, Option<i64>) {
    let (arguments, result) =
        rest.rsplit_once(") = ").or(rest.rsplit_once(')')).unwrap_or((rest, ""));
    // Padding between the two.
    let arguments = arguments.trim_end().trim_end_matches(')');
    let number = result.trim_start().trim_start_matches("= ").split([' ', '<']).next();
    (arguments, number.and_then(|number| number.parse().ok()))
}

/// Bytes from strace's `\x53\x52`; what isn't escaped stays as it is.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.bytes().next() {
        let hex = rest.strip_prefix("\\x").and_then(|rest| rest.get(..2));
        let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(byte.unwrap_or(first));
        rest = &rest[if byte.is_some() { 4 } else { 1 }..];
    }
    bytes
}

#[test]
fn lines_of_strace_are_read() {
    let text = r#"7 fdatasync(5<\x2f\x61> <unfinished ...>
8 sendto(9<socket:[12]>, "\x53\x52", 2, MSG_NOSIGNAL, NULL, 0) = 2
7 <... fdatasync resumed>)        = 0
7 pwrite64(5<\x2f\x61>, "\x01"..., 4096, 8192) = 4096
8 sendto(9<socket:[12]>, "\x53", 1, MSG_NOSIGNAL, NULL, 0) = -1 EAGAIN (Resource temporarily unavailable)
8 fdatasync(5<\x2f\x61> <unfinished ...>
8 <... fdatasync resumed>)        = ?
9 clock_nanosleep(CLOCK_REALTIME, 0, {tv_sec=5, tv_nsec=0},  <unfinished ...>) = ?
7 +++ killed by SIGKILL +++
"#;
    let steps = steps(text);
    let ended: Vec<(u32, &str, String, i64)> = steps
        .iter()
        .filter_map(|step| match step {
            TraceStep::Ended(thread, call, result) => {
                Some((*thread, call.name.as_str(), call.open_on(), *result))
            }
            TraceStep::Begins(..) => None,
        })
        .collect();
    assert_eq!(
        ended,
        [
            (8, "sendto", "socket:[12]".to_owned(), 2),
            (7, "fdatasync", "/a".to_owned(), 0),
            (7, "pwrite64", "/a".to_owned(), 4096),
            (8, "sendto", "socket:[12]".to_owned(), -1),
        ]
    );
    assert_eq!(steps.len(), 6 + 4);
    let TraceStep::Begins(7, first) = &steps[0] else { panic!("{steps:?}") };
    assert_eq!((first.open_on().as_str(), first.bytes()), ("/a", None));
    let TraceStep::Begins(8, sent) = &steps[1] else { panic!("{steps:?}") };
    assert_eq!((sent.bytes(), sent.last_number()), (Some(b"SR".to_vec()), 0));
    let TraceStep::Ended(7, written, 4096) = &steps[5] else { panic!("{steps:?}") };
    assert_eq!((written.bytes(), written.last_number()), (None, 8192));
}
