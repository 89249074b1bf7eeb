use super::score::{dot, sum};
use super::validate::all_finite;

#[test]
fn one_value_that_is_not_finite_is_found_wherever_it_stands() {
    for len in [1usize, 2, 63, 64, 65, 200] {
        let mut values = vec![1.5f32; len];
        assert!(all_finite(&values));
        for at in [0, len / 2, len - 1] {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -f32::NAN] {
                values[at] = bad;
                assert!(!all_finite(&values), "{bad} at {at} of {len}");
                values[at] = f32::MAX;
                assert!(all_finite(&values));
            }
        }
    }
    assert!(all_finite(&[]) && all_finite(&[f32::MIN_POSITIVE / 2.0, -0.0, f32::MIN]));
}

#[test]
fn sums_agree_with_the_plain_loop_at_every_length() {
    for len in 0..70usize {
        let row: Vec<f32> = (0..len).map(|i| (i as f32 * 37.0) % 11.0 - 5.0).collect();
        let weights: Vec<f32> = (1..=len).map(|weight| weight as f32).collect();
        // Small integers: every order of adding gives the same figure.
        assert_eq!(sum(&row), row.iter().sum::<f32>(), "{len}");
        assert_eq!(dot(&row, &weights), row.iter().zip(&weights).map(|(a, b)| a * b).sum::<f32>(), "{len}");
    }
}
