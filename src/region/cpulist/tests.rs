use super::*;
use proptest::prelude::*;

#[test]
fn lists_of_the_kernel() {
    assert_eq!(parse("0-1\n"), Some(vec![0, 1]));
    assert_eq!(parse("0-3,8,10-11\n"), Some(vec![0, 1, 2, 3, 8, 10, 11]));
    assert_eq!(parse("\n"), Some(vec![]));
    assert_eq!(parse("5,1,1-2"), Some(vec![1, 2, 5]));
}

#[test]
fn what_is_no_list_is_none() {
    for text in ["a", "3-1", "1-", "-1", "1-2-3", "0-99999999999", "0-4294967295", "0x3"] {
        assert_eq!(parse(text), None, "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: if cfg!(miri) { 8 } else { 256 }, ..ProptestConfig::default() })]

    #[test]
    fn what_is_shown_is_read_back(ids in proptest::collection::btree_set(0usize..40, 1..20)) {
        let ids: Vec<usize> = ids.into_iter().collect();
        prop_assert_eq!(parse(&CpuList(&ids).to_string()), Some(ids));
    }
}

#[test]
fn no_id_is_shown_as_none() {
    assert_eq!(CpuList(&[]).to_string(), "none");
}
