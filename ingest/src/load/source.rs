//! Rows, and the answers that they should get.

use super::Rows;
use crate::stage::Score;

/// The expected answer for one row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    score: f64,
    /// The tolerance for a server that adds in f32, in any order.
    tolerance: f64,
    /// The sum of the components; 0 if one of them isn't finite, because such a row is never
    /// accepted.
    pub(super) sum: f64,
    pub(super) finite: bool,
}

impl Expected {
    fn of(components: impl Iterator<Item = f32>, score: Score) -> Expected {
        let (mut sum, mut scored, mut terms, mut finite) = (0.0, 0.0, 0.0, true);
        for (index, component) in components.enumerate() {
            finite &= component.is_finite();
            let component = f64::from(component);
            let term = match score {
                Score::Sum => component,
                Score::Weighted => component * (index + 1) as f64,
                Score::None => 0.0,
            };
            sum += component;
            scored += term;
            terms += f64::abs(term);
        }
        // Beyond f32's range even finite components may overflow midway, so any score is accepted.
        let tolerance = match score {
            Score::None => 0.0,
            _ if terms > f64::from(f32::MAX) => f64::INFINITY,
            _ => 1e-5 * terms + 1e-6,
        };
        Expected { score: scored, tolerance, sum: if finite { sum } else { 0.0 }, finite }
    }

    /// Whether `score` is what the row should get; a NaN never is, unless the row may overflow.
    pub(super) fn accepts(&self, score: f32) -> bool {
        self.tolerance == f64::INFINITY || (f64::from(score) - self.score).abs() <= self.tolerance
    }

    pub(super) fn score(&self) -> f64 {
        self.score
    }
}

/// Rows and their expected answers, shared read-only by all threads.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) rows: Rows,
    expected: Vec<Expected>,
}

impl Source {
    pub(super) fn new(rows: Rows, score: Score) -> Source {
        let expected =
            (0..rows.count()).map(|row| Expected::of(rows.components(row), score)).collect();
        Source { rows, expected }
    }

    pub(super) fn count(&self) -> usize {
        self.expected.len()
    }

    /// The expected answers for the `count` rows from `first` on, starting over after the last one.
    pub(super) fn expected(&self, first: usize, count: usize) -> impl Iterator<Item = &Expected> {
        self.expected[first..].iter().chain(self.expected.iter().cycle()).take(count)
    }
}
