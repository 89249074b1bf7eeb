use super::*;

const STATUS: &str = "Name:\tslipring\nVmPeak:\t  105000 kB\nVmSize:\t  102400 kB\nVmLck:\t       8 kB\nTHP_enabled:\t1\n\
                      CapEff:\t000001fffeffffff\n";
const LIMITS: &str = "\
Limit                     Soft Limit           Hard Limit           Units     
Max data size             unlimited            unlimited            bytes     
Max locked memory         8388608              16777216             bytes     
Max address space         unlimited            unlimited            bytes     
";

#[test]
fn fields_in_kb_are_bytes() {
    assert_eq!(field_bytes(STATUS, "VmSize:"), Some(102_400 * 1024));
    assert_eq!(field_bytes(STATUS, "VmLck:"), Some(8192));
    assert_eq!(field_bytes(STATUS, "VmSwap:"), None);
    assert_eq!(field_bytes("VmLck: many kB\n", "VmLck:"), None);
    assert_eq!(
        field_bytes("HugePages_Free:   12\n", "HugePages_Free:"),
        None,
        "that one counts pages"
    );
    assert_eq!(
        field_bytes("VmLck: 18446744073709551615 kB\n", "VmLck:"),
        None,
        "the bytes don't fit"
    );
}

#[test]
fn words_stats_and_choices() {
    assert_eq!(field_word(STATUS, "CapEff:"), Some("000001fffeffffff"));
    assert_eq!(field_word(STATUS, "CapPrm:"), None);
    assert_eq!(stat_number("cache 339968\ninactive_file 49152\n", "inactive_file"), Some(49152));
    assert_eq!(stat_number("total_inactive_file 49152\n", "inactive_file"), None);
    assert_eq!(chosen("always [madvise] never\n"), Some("madvise"));
    assert_eq!(chosen("always madvise never\n"), None);
    assert_eq!(number("12\n"), Some(12));
    assert_eq!(number("max\n"), None);
}

#[test]
fn soft_limits_and_unlimited() {
    assert_eq!(soft_limit(LIMITS, "Max locked memory"), Some(8_388_608));
    assert_eq!(soft_limit(LIMITS, "Max address space"), None);
    assert_eq!(soft_limit(LIMITS, "Max patience"), None);
}
