use super::*;
use proptest::prelude::*;

/// The model of a span: the set of its offsets.
fn offsets(span: Span) -> Vec<usize> {
    (span.offset()..span.end()).collect()
}

#[test]
fn spans_that_cannot_be_are_errors() {
    assert_eq!(Span::new(0, 0), Err(SpanError::Empty));
    assert_eq!(Span::new(7, 0), Err(SpanError::Empty));
    assert_eq!(Span::new(1, usize::MAX), Err(SpanError::TooLarge { offset: 1, len: usize::MAX }));
    assert_eq!(
        Span::new(1, SPAN_BYTES_MAX),
        Err(SpanError::TooLarge { offset: 1, len: SPAN_BYTES_MAX })
    );
    assert_eq!(Span::new(0, SPAN_BYTES_MAX).map(Span::end), Ok(SPAN_BYTES_MAX));
}

#[test]
fn rounding_is_checked() {
    assert_eq!(align_up(1, 4096), Ok(4096));
    assert_eq!(align_up(4096, 4096), Ok(4096));
    assert_eq!(align_up(4097, 4096), Ok(8192));
    assert_eq!(align_up(0, 64), Ok(0));
    assert_eq!(align_up(10, 0), Err(SpanError::Align { align: 0 }));
    assert_eq!(align_up(10, 48), Err(SpanError::Align { align: 48 }));
    assert!(matches!(align_up(usize::MAX, 4096), Err(SpanError::TooLarge { .. })));
    assert!(matches!(align_up(SPAN_BYTES_MAX, 4096), Err(SpanError::TooLarge { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: if cfg!(miri) { 16 } else { 256 }, ..ProptestConfig::default() })]

    #[test]
    fn contains_and_overlaps_agree_with_sets_of_offsets(a in 0usize..20, n in 1usize..12, b in 0usize..20, m in 1usize..12) {
        let (one, two) = (Span::new(a, n).unwrap(), Span::new(b, m).unwrap());
        let (ones, twos) = (offsets(one), offsets(two));
        prop_assert_eq!(one.contains(two), twos.iter().all(|x| ones.contains(x)));
        prop_assert_eq!(one.overlaps(two), twos.iter().any(|x| ones.contains(x)));
        prop_assert_eq!(one.overlaps(two), two.overlaps(one));
        prop_assert_eq!(one.len(), ones.len());
    }
}
