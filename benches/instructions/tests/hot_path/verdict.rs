//! Which instructions and calls the hot path must not have, on x86-64 and aarch64.

use super::listing::{Function, Instruction};

/// Failed assertions, unwinding, and the drops on that way (which objdump names by their section).
/// None of them runs unless the thread panics. Given by the beginning of their paths.
const PANICS: &[&str] = &[
    "core::panicking::",
    "core::slice::index::",
    "core::result::unwrap_failed",
    "_Unwind_Resume",
    ".text._ZN4core3ptr",
];

/// All that is wrong with a function. `cold` holds the ends of the paths that it may call.
pub fn complaints(function: &Function, cold: &[&str]) -> Vec<String> {
    let complaint = |one: &Instruction| {
        if let Some(why) = refused(&one.text) {
            return Some(format!("{}: {why}: {}", function.name, one.text));
        }
        let called = target(function, one)?;
        let known = cold.iter().any(|end| without_hash(&called).ends_with(end))
            || PANICS.iter().any(|start| called.starts_with(start));
        (!known).then(|| format!("{}: a call that isn't known to be cold: {called}", function.name))
    };
    function.instructions.iter().filter_map(complaint).collect()
}

/// Why an instruction must not be in the hot path, or None.
fn refused(text: &str) -> Option<&'static str> {
    let mut words = text.split_whitespace();
    let mnemonic = words.next().unwrap_or_default();
    // A prefix such as `rep` or `lock` comes before the mnemonic. So `lock` is looked for in all
    // words below.
    let sized = |name: &str| {
        mnemonic.strip_prefix(name).is_some_and(|size| ["", "b", "w", "l", "q"].contains(&size))
    };
    let starts = |names: &[&str]| names.iter().any(|name| mnemonic.starts_with(name));
    if cfg!(target_arch = "aarch64") {
        return if starts(&["udiv", "sdiv"]) {
            Some("a division")
        } else if starts(&[
            "ldxr", "ldaxr", "stxr", "stlxr", "cas", "swp", "ldadd", "ldclr", "ldset", "ldeor",
            "dmb",
        ]) {
            Some("a read-modify-write or a fence")
        } else {
            None
        };
    }
    if text.split_whitespace().any(|word| word == "lock") {
        Some("a locked instruction")
    } else if starts(&["xchg"]) && text.contains('(') {
        Some("an exchange with memory, which locks")
    } else if starts(&["mfence"]) {
        Some("a fence")
    } else if sized("div") || sized("idiv") {
        Some("a division")
    } else {
        None
    }
}

/// The function that an instruction jumps to or calls, if it leaves its own.
pub fn target(function: &Function, one: &Instruction) -> Option<String> {
    let mnemonic = one.mnemonic();
    let arm = cfg!(target_arch = "aarch64")
        && (mnemonic.starts_with('b')
            && !mnemonic.starts_with("bi")
            && !mnemonic.starts_with("bf"));
    if !(mnemonic.starts_with("call")
        || mnemonic.starts_with('j')
        || mnemonic.starts_with("notrack")
        || arm)
    {
        return None;
    }
    if let Some(symbol) = &one.symbol {
        return Some(symbol.clone());
    }
    // A remark such as `# 9f <f+0x9f>` is the address of a pointer, not its target.
    let direct = one.text.split('#').next().filter(|text| !text.contains('*'));
    let Some((_, place)) = direct.and_then(|text| text.split_once('<')) else {
        return Some("through a pointer".to_owned());
    };
    let place = place.trim_end().trim_end_matches('>');
    let is_own = place
        .strip_prefix(&function.name)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("+0x"));
    (!is_own).then(|| place.to_owned())
}

/// `path::to::it::h0123456789abcdef` becomes `path::to::it`.
fn without_hash(path: &str) -> &str {
    let hash =
        path.rfind("::h").filter(|&at| path[at + 3..].chars().all(|c| c.is_ascii_hexdigit()));
    hash.map_or(path, |at| &path[..at])
}

#[cfg(target_arch = "x86_64")]
#[test]
fn wrong_code_is_refused() {
    let judged = |text: &str, symbol: Option<&str>| {
        let one = Instruction { text: text.to_owned(), symbol: symbol.map(str::to_owned) };
        let function = Function { name: "a::f".to_owned(), instructions: vec![one] };
        complaints(&function, &["Owner::make_room"]).len()
    };
    for bad in [
        "lock xadd %rax,(%rdi)",
        "lock incq (%rax)",
        "lock cmpxchg %rcx,0x8(%rdi)",
        "xchg   %rax,0x10(%rsi)",
        "mfence",
        "div    %rcx",
        "divq   0x8(%rdi)",
        "idivl  (%rax)",
        "call   *%rax",
        "call   *0x8(%rdi)",
        "jmp    *0x10(%rax,%rcx,8)",
        "call   1234 <b::g>",
        "jne    1234 <a::f2+0x3>",
    ] {
        assert_eq!(judged(bad, None), 1, "{bad}");
    }
    for good in [
        "decq   (%rdi)",
        "xchg   %ax,%ax",
        "nopw   0x0(%rax,%rax,1)",
        "divsd  %xmm0,%xmm1",
        "je     9 <a::f+0x9>",
        "jmp    0 <a::f>",
        "ret",
    ] {
        assert_eq!(judged(good, None), 0, "{good}");
    }
    let through_table = "call   *0x0(%rip)        # 9f <a::f+0x9f>";
    assert_eq!(judged(through_table, Some("slipring::ring::owner::Owner::make_room")), 0);
    assert_eq!(
        judged(through_table, Some("slipring::ring::owner::Owner::make_room::h0123456789abcdef")),
        0
    );
    assert_eq!(judged(through_table, Some("core::panicking::panic_fmt")), 0);
    assert_eq!(judged(through_table, Some("slipring::ring::owner::Owner::make_room_for")), 1);
    assert_eq!(judged("jmp    5 <a::f+0x5>", Some("b::g")), 1);
}
