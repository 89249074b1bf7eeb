//! Comments and pages are 100 columns wide at most. Code is rustfmt's business.
//!
//! Tables, code and drawings between fences, and the markers of generated figures can't be wrapped.

use super::source::Source;

const COLUMNS_MAX: usize = 100;

/// Comments of a source file, also behind code.
pub fn of_comments(file: &Source) -> Vec<String> {
    let mut is_fenced = false;
    let lines = file.text.lines().zip(file.comments.lines()).enumerate();
    let wide = lines.filter(|(_, (line, comment))| {
        let said = comment.trim_start().trim_start_matches(['/', '!']).trim_start();
        is_fenced = !comment.trim().is_empty() && (is_fenced != said.starts_with("```"));
        !comment.trim().is_empty() && !is_fenced && is_wide(line, said)
    });
    wide.map(|(at, (line, _))| complaint(&file.path_and_line(at), line)).collect()
}

/// A Markdown page.
pub fn of_page(path: &str, text: &str) -> Vec<String> {
    let (mut is_fenced, mut is_generated) = (false, false);
    let wide = text.lines().enumerate().filter(|(_, line)| {
        is_fenced = is_fenced != line.trim_start().starts_with("```");
        is_generated = (is_generated || line.contains("<!-- table:")) && !line.contains("<!-- end");
        !is_generated && !is_fenced && !line.starts_with("    ") && is_wide(line, line)
    });
    wide.map(|(at, line)| complaint(&format!("{path}:{}", at + 1), line)).collect()
}

/// A marker that begins a line ends the paragraph before it: Markdown takes it for a block of HTML.
pub fn leading_markers(path: &str, text: &str) -> Vec<String> {
    let leads =
        text.lines().enumerate().filter(|(_, line)| line.trim_start().starts_with("<!-- value"));
    leads.map(|(at, _)| format!("{path}:{}: put the marker behind a word", at + 1)).collect()
}

fn is_wide(line: &str, said: &str) -> bool {
    line.chars().count() > COLUMNS_MAX && !said.starts_with('|') && !line.contains("<!--")
}

fn complaint(place: &str, line: &str) -> String {
    format!("{place}: {} columns, {COLUMNS_MAX} is the limit", line.chars().count())
}

#[test]
fn wide_comments_are_refused() {
    let of = |text: &str| of_comments(&Source::new("a.rs", text)).len();
    let (just, wide) = ("ä".repeat(COLUMNS_MAX - 4), "ä".repeat(COLUMNS_MAX - 3));
    assert_eq!((of(&format!("/// {just}\n")), of(&format!("/// {wide}\n"))), (0, 1));
    assert_eq!(of(&format!("a(); // {just}\n")), 1, "behind code");
    assert_eq!(of(&format!("let a = \"{wide}{wide}\";\n")), 0, "a string isn't a comment");
    assert_eq!(of(&format!("//! ```text\n//! {wide}\n//! ```\n//! {wide}\n")), 1, "a fence ends");
    assert_eq!(of(&format!("//! ```text\n//! {wide}\na();\n/// {wide}\n")), 1, "with its comment");
    assert_eq!(of(&format!("//! | {wide} |\n")), 0, "a table");
}

#[test]
fn leading_markers_are_refused() {
    let of = |text: &str| leading_markers("a.md", text).len();
    let marker = "<!-- value: a from b -->1<!-- end -->";
    assert_eq!((of(&format!("takes {marker}")), of(&format!("takes\n  {marker}"))), (0, 1));
}

#[test]
fn wide_pages_are_refused() {
    let of = |text: &str| of_page("a.md", text).len();
    let (just, wide) = ("a".repeat(COLUMNS_MAX), "a".repeat(COLUMNS_MAX + 1));
    assert_eq!((of(&just), of(&wide)), (0, 1));
    assert_eq!(of(&format!("```\n{wide}\n```\n{wide}\n")), 1);
    assert_eq!(of(&format!("<!-- table: a -->\n{wide}\n<!-- end -->\n{wide}\n")), 1);
    assert_eq!(of(&format!("| {wide} |\n\n    {wide}\n\n<!-- {wide} -->")), 0);
}
