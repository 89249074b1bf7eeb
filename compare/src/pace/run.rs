//! Runs the chosen cases, and prints their figures.

use std::io;
use std::num::NonZero;

use bytes::Bytes;
use clap::Args;
use serde_json::json;

use crate::choice::{Choice, Wrong};
use crate::objects::Figures;
use crate::report::machine;

use super::case::{SETTINGS, Setting, WORKS, Work, measure};
use super::store::{SHAPES, Shape};

/// Fixed part sizes and concurrencies beside those that the range engine chooses, against stores of
/// four shapes.
#[derive(Args, Clone)]
pub struct Options {
    #[command(flatten)]
    choice: Choice,
    /// Lets the clock run in real time instead of jumping
    #[arg(long)]
    real_time: bool,
    /// Objects of every case [default: the case's own number, a gigabyte in all]
    #[arg(long)]
    objects: Option<NonZero<usize>>,
}

/// Only the backoffs are random. All else is the same in every repeat.
const REPEATS_QUICK: usize = 1;
const REPEATS_FULL: usize = 5;

const BENCH: &str = "objects-pace";

/// Runs the cases and prints them.
///
/// # Errors
/// A wrong option, or bytes that aren't an object's.
pub fn run(options: &Options) -> Result<(), Wrong> {
    let choice = &options.choice;
    let cases = SHAPES.into_iter().flat_map(|shape| WORKS.map(|work| (shape, work))).collect();
    let case_name =
        (|(shape, work)| format!("{}-{}", shape.name, work.name)) as fn(&(Shape, Work)) -> String;
    let setting_name = (|setting| setting.name) as fn(&Setting) -> &'static str;
    let quick: Vec<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
    let selected = choice.select((cases, case_name), (SETTINGS.to_vec(), setting_name), &quick)?;
    let Some((cases, settings)) = selected else { return Ok(()) };
    let repeats = choice.repeats(REPEATS_QUICK, REPEATS_FULL);
    let clock = if options.real_time { "real" } else { "paused" };
    if choice.json {
        println!(
            "{}",
            json!({ "bench": BENCH, "machine": machine(), "options": { "repeats": repeats, "clock": clock } })
        );
    } else {
        println!("{repeats} repeats by a {clock} clock");
    }
    let block =
        Bytes::from(vec![
            7_u8;
            WORKS.iter().map(|work| work.object_bytes).max().unwrap_or_default()
        ]);
    for case in &cases {
        let (shape, work) = *case;
        let work = Work { objects: options.objects.map_or(work.objects, NonZero::get), ..work };
        let name = case_name(case);
        let mut results: Vec<(Setting, Figures)> =
            settings.iter().map(|setting| (*setting, Figures::default())).collect();
        for _ in 0..repeats {
            for (setting, figures) in &mut results {
                let failed =
                    |why: String| Wrong::Case(format!("{name} of {}: {why}", setting.name));
                let outcome =
                    wait(!options.real_time, measure(shape, work, *setting, block.clone()));
                let line = outcome.map_err(|error| failed(error.to_string()))?.map_err(failed)?;
                figures.add(&line.to_string()).map_err(failed)?;
            }
        }
        print(choice.json, &name, &results);
    }
    Ok(())
}

/// Runs the future on this thread. A paused clock jumps whenever all tasks wait.
pub fn wait<T>(paused: bool, future: impl Future<Output = T>) -> io::Result<T> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(paused).build()?;
    Ok(runtime.block_on(future))
}

fn print(as_json: bool, case: &str, results: &[(Setting, Figures)]) {
    if as_json {
        results
            .iter()
            .for_each(|(setting, figures)| println!("{}", figures.line(BENCH, case, setting.name)));
        return;
    }
    let heads = ["MiB/s", "from", "to", "failed", "retries", "requests", "refused", "in flight"];
    println!("\n{case}\n{:<14}{}", "setting", heads.map(|head| format!("{head:>10}")).concat());
    for (setting, figures) in results {
        let rate = [2, 0, 4].map(|quartile| {
            figures.quartile("bytes_per_second", quartile).unwrap_or_default() / 1048576.0
        });
        let counts = ["failed", "retries", "requests", "refused", "in_flight_most"];
        let counts = counts.map(|name| figures.median(name).unwrap_or_default());
        let cells: String =
            rate.iter().chain(&counts).map(|value| format!("{value:>10.0}")).collect();
        println!("{:<14}{cells}", setting.name);
    }
    let rate = |figures: &Figures| figures.median("bytes_per_second").unwrap_or_default();
    // A setting that loses objects is nothing to compare with.
    let is_whole = |figures: &Figures| figures.median("failed") == Some(0.0);
    let fixed = results.iter().filter(|(setting, figures)| setting.is_fixed() && is_whole(figures));
    let best = fixed.max_by(|(_, one), (_, other)| rate(one).total_cmp(&rate(other)));
    let default = results.iter().find(|(setting, _)| setting.name == "default");
    if let (Some((best, of_best)), Some((_, of_default))) = (best, default) {
        println!(
            "  default / the best fixed, {}: {:.2}x",
            best.name,
            rate(of_default) / rate(of_best)
        );
    }
}
