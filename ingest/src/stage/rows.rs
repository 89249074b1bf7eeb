//! Sums over rows of components. Each row is read once, with the widest vector instructions of the
//! machine, which crate pulp chooses at run time.
#![forbid(unsafe_code)]

use pulp::{Arch, Simd, WithSimd};

/// The number of sums computed side by side, so that an addition doesn't wait for the one before
/// it.
const SUMS: usize = 4;

/// Sums over rows, with the vector instructions of this machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowSums(Arch);

impl RowSums {
    /// Chooses the widest instructions that this machine has.
    pub(super) fn new() -> Self {
        Self(Arch::new())
    }

    /// Writes the sum of each row of `dim` components to `out`. Returns true if all sums are
    /// finite, which means that every component is.
    #[inline]
    pub(super) fn sums(self, values: &[f32], dim: usize, out: &mut [f32]) -> bool {
        debug_assert_eq!(values.len(), dim * out.len());
        self.0.dispatch(Sums { values, dim, out })
    }

    /// As [`RowSums::sums`], for the dot product of each row with `weights`, none of which is zero.
    #[inline]
    pub(super) fn dots(self, values: &[f32], weights: &[f32], out: &mut [f32]) -> bool {
        debug_assert_eq!(values.len(), weights.len() * out.len());
        self.0.dispatch(Dots { values, weights, out })
    }
}

struct Sums<'a> {
    values: &'a [f32],
    dim: usize,
    out: &'a mut [f32],
}

impl WithSimd for Sums<'_> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> bool {
        let mut is_finite = true;
        for (row, out) in self.values.chunks_exact(self.dim).zip(self.out) {
            let (vectors, rest) = S::as_simd_f32s(row);
            let (fours, ones) = vectors.as_chunks::<SUMS>();
            let mut sums = [simd.splat_f32s(0.0); SUMS];
            for four in fours {
                sums.iter_mut()
                    .zip(four)
                    .for_each(|(sum, vector)| *sum = simd.add_f32s(*sum, *vector));
            }
            sums.iter_mut().zip(ones).for_each(|(sum, vector)| *sum = simd.add_f32s(*sum, *vector));
            if !rest.is_empty() {
                sums[SUMS - 1] = simd.add_f32s(sums[SUMS - 1], simd.partial_load_f32s(rest));
            }
            *out = total(simd, sums);
            is_finite &= out.is_finite();
        }
        is_finite
    }
}

struct Dots<'a> {
    values: &'a [f32],
    weights: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Dots<'_> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> bool {
        let (weights, weights_rest) = S::as_simd_f32s(self.weights);
        let (weight_fours, weight_ones) = weights.as_chunks::<SUMS>();
        let mut is_finite = true;
        for (row, out) in self.values.chunks_exact(self.weights.len()).zip(self.out) {
            let (vectors, rest) = S::as_simd_f32s(row);
            let (fours, ones) = vectors.as_chunks::<SUMS>();
            let mut sums = [simd.splat_f32s(0.0); SUMS];
            for (four, weights) in fours.iter().zip(weight_fours) {
                for ((sum, vector), weight) in sums.iter_mut().zip(four).zip(weights) {
                    *sum = simd.mul_add_e_f32s(*vector, *weight, *sum);
                }
            }
            for ((sum, vector), weight) in sums.iter_mut().zip(ones).zip(weight_ones) {
                *sum = simd.mul_add_e_f32s(*vector, *weight, *sum);
            }
            if !rest.is_empty() {
                let (vector, weight) =
                    (simd.partial_load_f32s(rest), simd.partial_load_f32s(weights_rest));
                sums[SUMS - 1] = simd.mul_add_e_f32s(vector, weight, sums[SUMS - 1]);
            }
            *out = total(simd, sums);
            is_finite &= out.is_finite();
        }
        is_finite
    }
}

#[inline(always)]
fn total<S: Simd>(simd: S, [one, two, three, four]: [S::f32s; SUMS]) -> f32 {
    simd.reduce_sum_f32s(simd.add_f32s(simd.add_f32s(one, two), simd.add_f32s(three, four)))
}

/// Whether no component is NaN or infinite. Needed only if a sum isn't finite, which large finite
/// components can cause too.
#[cold]
#[inline(never)]
pub(super) fn all_finite(values: &[f32]) -> bool {
    values.iter().all(|value| value.is_finite())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every instruction set that this machine has and pulp knows.
    fn machines() -> Vec<RowSums> {
        let mut all = vec![RowSums(Arch::Scalar), RowSums::new()];
        #[cfg(target_arch = "x86_64")]
        all.extend(pulp::x86::V3::try_new().map(|v3| RowSums(Arch::V3(v3))));
        all
    }

    fn weights(dim: usize) -> Vec<f32> {
        (1..=dim).map(|weight| weight as f32).collect()
    }

    /// Sum and dot product of each row, by a plain loop in f64; each with the sum of the terms'
    /// absolute values, which bounds the rounding.
    fn plain(values: &[f32], dim: usize) -> Vec<[(f64, f64); 2]> {
        let of = |row: &[f32]| {
            let terms = |row: &[f32]| row.iter().map(|value| f64::from(*value)).collect::<Vec<_>>();
            let products = || {
                row.iter()
                    .zip(1u32..)
                    .map(|(value, weight)| f64::from(*value) * f64::from(weight))
                    .collect()
            };
            let both =
                |terms: Vec<f64>| (terms.iter().sum(), terms.iter().map(|term| term.abs()).sum());
            [both(terms(row)), both(products())]
        };
        values.chunks_exact(dim).map(of).collect()
    }

    /// Compares every instruction set with the plain loop: scores agree within the rounding of f32,
    /// and so does the verdict whether all components are finite.
    fn assert_agrees(values: &[f32], dim: usize) {
        let rows = values.len() / dim;
        let finite = values.iter().all(|value| value.is_finite());
        assert_eq!(all_finite(values), finite);
        for machine in machines() {
            let mut out = [vec![f32::NAN; rows], vec![f32::NAN; rows]];
            let said = [
                machine.sums(values, dim, &mut out[0]),
                machine.dots(values, &weights(dim), &mut out[1]),
            ];
            for (kind, said) in said.into_iter().enumerate() {
                assert!(!said || finite, "{machine:?} calls {values:?} finite");
                assert_eq!(said, out[kind].iter().all(|score| score.is_finite()));
            }
            for (row, plain) in plain(values, dim).into_iter().enumerate().filter(|_| finite) {
                for (kind, (exact, bound)) in plain.into_iter().enumerate() {
                    let score = f64::from(out[kind][row]);
                    if score.is_finite() {
                        let rounding = bound * dim as f64 * f64::from(f32::EPSILON)
                            + dim as f64 * f64::from(f32::from_bits(1));
                        assert!(
                            (score - exact).abs() <= rounding,
                            "{machine:?}: {score} for {exact} in row {row} of {dim}"
                        );
                    } else {
                        assert!(
                            bound * (1.0 + 1e-4) > f64::from(f32::MAX),
                            "{machine:?}: {score} for {exact}"
                        );
                    }
                }
            }
        }
    }

    /// Exactly equal: small integers are added without rounding, in any order.
    #[test]
    fn every_length_gives_what_the_plain_loop_gives() {
        for dim in 1..=200usize {
            for rows in [1, 3] {
                let values: Vec<f32> =
                    (0..dim * rows).map(|i| (i as f32 * 37.0) % 11.0 - 5.0).collect();
                for machine in machines() {
                    let mut out = vec![f32::NAN; rows];
                    assert!(machine.sums(&values, dim, &mut out));
                    let exact = plain(&values, dim);
                    assert!(
                        out.iter()
                            .zip(&exact)
                            .all(|(score, exact)| f64::from(*score) == exact[0].0),
                        "{machine:?}, {dim}"
                    );
                    assert!(machine.dots(&values, &weights(dim), &mut out));
                    assert!(
                        out.iter()
                            .zip(&exact)
                            .all(|(score, exact)| f64::from(*score) == exact[1].0),
                        "{machine:?}, {dim}"
                    );
                }
            }
        }
    }

    #[test]
    fn one_component_that_is_not_finite_is_found_at_every_position() {
        for dim in (1..=70).chain([127, 128, 129, 200]) {
            for at in 0..2 * dim {
                for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    let mut values = vec![1.5f32; 2 * dim];
                    values[at] = bad;
                    assert_agrees(&values, dim);
                }
            }
        }
    }

    #[test]
    fn infinities_do_not_cancel_and_large_components_are_no_infinities() {
        for dim in [1usize, 2, 3, 8, 9, 31, 32, 33, 64, 100] {
            assert_agrees(&vec![f32::MAX; dim], dim);
            assert_agrees(&vec![f32::MIN_POSITIVE / 2.0; dim], dim);
            assert_agrees(&vec![f32::from_bits(1); dim], dim);
            let opposed = |i: usize| if i.is_multiple_of(2) { f32::MAX } else { f32::MIN };
            assert_agrees(&(0..dim).map(opposed).collect::<Vec<_>>(), dim);
            let infinite =
                |i: usize| if i.is_multiple_of(2) { f32::INFINITY } else { f32::NEG_INFINITY };
            assert_agrees(&(0..dim).map(infinite).collect::<Vec<_>>(), dim);
        }
        assert_agrees(&[], 4);
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        /// Any bits, including denormals, both zeros, infinities and NaNs of every kind.
        #[test]
        fn any_bits_agree_with_the_plain_loop(
            dim in 1usize..150,
            rows in 0usize..4,
            bits in proptest::collection::vec(any::<u32>(), 600),
        ) {
            let bits = bits.into_iter().cycle().take(dim * rows);
            let values: Vec<f32> = bits.map(f32::from_bits).collect();
            assert_agrees(&values, dim);
        }

        #[test]
        fn any_finite_components_agree_with_the_plain_loop(
            dim in 1usize..150,
            values in proptest::collection::vec(-1e3f32..1e3, 600),
        ) {
            assert_agrees(&values[..600 / dim * dim], dim);
        }
    }
}
