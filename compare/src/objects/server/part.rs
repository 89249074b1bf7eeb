//! Which bytes of an object a `Range` header asks for: arithmetic only.

use std::ops::Range;

/// What a request gets of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it: there is no range, or none that this server understands, which a server may pass
    /// over.
    Whole,
    /// These bytes, at least one.
    Bytes(Range<u64>),
    /// The object has no byte of what is asked for.
    Nothing,
}

/// The part of an object of `len` bytes that `header` names: `bytes=a-b` with b included,
/// `bytes=a-`, or `bytes=-n` for the last n. Several ranges at once are none that it understands.
pub fn part(header: Option<&str>, len: u64) -> Part {
    let Some((from, to)) =
        header.and_then(|header| header.trim().strip_prefix("bytes=")?.split_once('-'))
    else {
        return Part::Whole;
    };
    let (from, to) = (from.trim(), to.trim());
    let number = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok())?
    };
    match (number(from), number(to)) {
        (None, Some(0)) if from.is_empty() => Part::Nothing,
        (None, Some(_)) if from.is_empty() && len == 0 => Part::Nothing,
        (None, Some(last)) if from.is_empty() => Part::Bytes(len.saturating_sub(last)..len),
        (Some(first), _) if to.is_empty() => behind(first, len, len),
        (Some(first), Some(last)) if first <= last => {
            behind(first, last.saturating_add(1).min(len), len)
        }
        _ => Part::Whole,
    }
}

fn behind(first: u64, end: u64, len: u64) -> Part {
    if first < len { Part::Bytes(first..end) } else { Part::Nothing }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_object() {
        let of = |header| part(Some(header), 10);
        assert_eq!(of("bytes=0-0"), Part::Bytes(0..1));
        assert_eq!(of("bytes=0-9"), Part::Bytes(0..10));
        assert_eq!(of("bytes=3-100"), Part::Bytes(3..10));
        assert_eq!(of("bytes=9-"), Part::Bytes(9..10));
        assert_eq!(of(" bytes=2 - 4 "), Part::Bytes(2..5));
        assert_eq!(of("bytes=0-18446744073709551615"), Part::Bytes(0..10));
        assert_eq!((of("bytes=-3"), of("bytes=-30")), (Part::Bytes(7..10), Part::Bytes(0..10)));
    }

    #[test]
    fn what_the_object_has_no_byte_of_is_said() {
        for nothing in ["bytes=10-", "bytes=10-10", "bytes=18446744073709551615-", "bytes=-0"] {
            assert_eq!(part(Some(nothing), 10), Part::Nothing, "{nothing}");
        }
        assert_eq!(
            [part(Some("bytes=0-"), 0), part(Some("bytes=-1"), 0)],
            [Part::Nothing, Part::Nothing]
        );
        assert_eq!(part(None, 0), Part::Whole);
    }

    #[test]
    fn what_is_no_range_is_passed_over() {
        let odd = [
            "",
            "0-1",
            "bytes=",
            "bytes=-",
            "bytes=5-2",
            "bytes=+1-2",
            "bytes=0-1,3-4",
            "items=0-1",
            "bytes=a-b",
        ];
        for header in odd {
            assert_eq!(part(Some(header), 10), Part::Whole, "{header}");
        }
        assert_eq!(part(None, 10), Part::Whole);
        assert_eq!(
            part(Some("bytes=99999999999999999999-"), 10),
            Part::Whole,
            "not even a number of 64 bits"
        );
    }
}
