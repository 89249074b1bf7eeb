//! The options that `ring`, `class` and `queue` share: which cases and contenders are run, and how
//! much of each.

use std::num::NonZero;

use clap::Args;

use crate::measure::Rounds;
use crate::report::{self, Report};

pub use crate::report::Wrong;

/// The cases and contenders of a run.
#[derive(Args, Clone, Default)]
pub struct Choice {
    /// The cases and contenders that have targets, with fewer and shorter repeats; in under a
    /// minute
    #[arg(long)]
    pub quick: bool,
    /// One JSON object per line instead of a table; lines that aren't results carry no `case`
    #[arg(long)]
    pub json: bool,
    /// Only cases whose name contains this, or one of these with commas between them
    #[arg(long, value_delimiter = ',')]
    pub case: Vec<String>,
    /// Only contenders whose name contains this, or one of these; also those that `--quick` leaves
    /// out
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
    /// Repeats of each case and contender [default: 21, or 7 with --quick; of objects 7 and 3]
    #[arg(long)]
    repeats: Option<NonZero<usize>>,
    /// Lists the names of the cases and contenders that this run would have
    #[arg(long)]
    pub list: bool,
}

/// The selected cases and contenders; none if there is nothing to run.
type Selected<C, R> = Option<(Vec<C>, Vec<R>)>;

impl Choice {
    /// How much is run: the quick or the full rounds, with the chosen number of repeats.
    pub fn rounds(&self, quick: Rounds, full: Rounds) -> Rounds {
        let rounds = if self.quick { quick } else { full };
        Rounds { repeats: self.repeats(quick.repeats, full.repeats), ..rounds }
    }

    /// How often each case and contender is run, unless a number is chosen.
    pub fn repeats(&self, quick: usize, full: usize) -> usize {
        self.repeats.map_or(if self.quick { quick } else { full }, NonZero::get)
    }

    /// Whether only the quick cases are run: not if cases are chosen by name.
    pub fn quick_cases(&self) -> bool {
        self.quick && self.case.is_empty()
    }

    /// Whether only the quick contenders are run: not if contenders are chosen by name.
    pub fn quick_contenders(&self) -> bool {
        self.quick && self.only.is_empty()
    }

    pub fn takes_case(&self, name: &str) -> bool {
        self.case.is_empty() || self.case.iter().any(|part| name.contains(part))
    }

    pub fn takes_contender(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| name.contains(part))
    }

    /// Refuses a run in which nothing would be measured.
    pub fn check(&self, cases: usize, contenders: usize) -> Result<(), Wrong> {
        let none = |option: &str, names: &[String], what: &str| {
            Err(Wrong::Option(format!(
                "--{option} {}: no such {what}; --list names them all",
                names.join(",")
            )))
        };
        match (cases, contenders) {
            (0, _) => none("case", &self.case, "case"),
            (_, 0) => none("only", &self.only, "contender"),
            _ => Ok(()),
        }
    }

    /// Selects the cases and contenders of this run; each comes with the function that names it.
    /// Returns none if the run only lists them, which is done here. `quick` are the contenders of a
    /// quick run.
    pub fn select<C, R>(
        &self,
        (mut cases, case_name): (Vec<C>, fn(&C) -> String),
        (mut contenders, contender_name): (Vec<R>, fn(&R) -> &'static str),
        quick: &[&str],
    ) -> Result<Selected<C, R>, Wrong> {
        cases.retain(|case| self.takes_case(&case_name(case)));
        let is_run = |name: &str| !self.quick_contenders() || quick.contains(&name);
        contenders.retain(|contender| {
            self.takes_contender(contender_name(contender)) && is_run(contender_name(contender))
        });
        if self.list {
            report::list("cases", &cases.iter().map(case_name).collect::<Vec<_>>());
            report::list("contenders", &contenders.iter().map(contender_name).collect::<Vec<_>>());
            return Ok(None);
        }
        self.check(cases.len(), contenders.len())?;
        Ok(Some((cases, contenders)))
    }

    pub fn report(&self, bench: &'static str) -> Report {
        Report { bench, as_json: self.json }
    }
}

/// A choice that also sets how much is timed.
#[derive(Args, Clone)]
pub struct Timed {
    #[command(flatten)]
    pub choice: Choice,
    /// Timed operations of one repeat, in every case [default: by case]
    #[arg(long)]
    pub ops: Option<NonZero<u64>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Rounds = Rounds { repeats: 7, ops: 1000, verified_ops: 10 };
    const FULL: Rounds = Rounds { repeats: 21, ..QUICK };

    #[test]
    fn a_run_of_nothing_names_its_option() {
        let choice = Choice {
            case: vec!["a".into(), "b".into()],
            only: vec!["c".into()],
            ..Choice::default()
        };
        assert!(choice.check(1, 1).is_ok());
        let text =
            |wrong: Result<(), Wrong>| wrong.map_err(|wrong| wrong.text().to_owned()).unwrap_err();
        assert_eq!(text(choice.check(0, 1)), "--case a,b: no such case; --list names them all");
        assert_eq!(text(choice.check(1, 0)), "--only c: no such contender; --list names them all");
    }

    #[test]
    fn cases_and_contenders_are_selected_by_name() {
        let of = |choice: &Choice| {
            let cases = (vec![1, 2, 12], (|case: &i32| case.to_string()) as fn(&i32) -> String);
            let contenders = (
                vec!["a", "b", "ab"],
                (|name: &&'static str| *name) as fn(&&'static str) -> &'static str,
            );
            choice.select(cases, contenders, &["b"])
        };
        let all = Choice::default();
        assert_eq!(of(&all).unwrap(), Some((vec![1, 2, 12], vec!["a", "b", "ab"])));
        let named = Choice {
            case: vec!["2".into()],
            only: vec!["a".into()],
            quick: true,
            ..Choice::default()
        };
        assert_eq!(of(&named).unwrap(), Some((vec![2, 12], vec!["a", "ab"])));
        assert_eq!(
            of(&Choice { quick: true, ..Choice::default() }).unwrap(),
            Some((vec![1, 2, 12], vec!["b"]))
        );
        assert!(of(&Choice { only: vec!["z".into()], ..Choice::default() }).is_err());
        assert!(of(&Choice { list: true, ..Choice::default() }).unwrap().is_none());
    }

    #[test]
    fn names_choose_what_a_quick_run_leaves_out() {
        let quick = Choice { quick: true, repeats: NonZero::new(2), ..Choice::default() };
        assert!(quick.quick_cases() && quick.quick_contenders());
        assert_eq!(
            (quick.rounds(QUICK, FULL).repeats, quick.rounds(QUICK, FULL).ops),
            (2, QUICK.ops)
        );
        let named = Choice { only: vec!["go-pool".into()], ..quick };
        assert!(named.quick_cases() && !named.quick_contenders());
        assert!(
            named.takes_contender("go-pool")
                && !named.takes_contender("mutex-queue")
                && named.takes_case("any")
        );
        assert_eq!(Choice::default().rounds(QUICK, FULL).repeats, FULL.repeats);
    }
}
