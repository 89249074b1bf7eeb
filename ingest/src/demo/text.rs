//! Formatting of figures and lines for people.

use std::io::Write;

use crate::printable::is_unprintable;

/// Columns of a line, and of the name before its text.
const COLUMNS: usize = 96;
const INDENT: usize = 10;

/// Prints lines immediately. If the reader has closed its end, the demonstration continues.
pub(super) fn say(out: &mut dyn Write, lines: &str) {
    let _closed = writeln!(out, "{lines}").and_then(|()| out.flush());
}

/// 1234567 as 1,234,567.
pub(super) fn grouped(figure: u64) -> String {
    let digits = figure.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| str::from_utf8(group).unwrap_or(""))
        .collect();
    groups.join(",")
}

/// Bytes in MiB, with one decimal unless they are whole.
pub(super) fn mib(bytes: u64) -> String {
    if bytes.is_multiple_of(1 << 20) {
        (bytes >> 20).to_string()
    } else {
        format!("{:.1}", bytes as f64 / f64::from(1 << 20))
    }
}

/// `1 segment`, `2 segments`.
pub(super) fn counted(figure: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(figure), if figure == 1 { "" } else { "s" })
}

/// The text in indented lines, each ended by a newline.
pub(super) fn wrap(text: &str) -> String {
    let mut lines = String::new();
    let mut line = " ".repeat(INDENT - 1);
    for word in text.split_whitespace() {
        if line.len() > INDENT && line.len() + 1 + word.len() > COLUMNS {
            lines += &line;
            lines.push('\n');
            line = " ".repeat(INDENT - 1);
        }
        line.push(' ');
        line += word;
    }
    lines + &line + "\n"
}

/// The text as one word of a shell.
pub(super) fn quoted(text: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "/._-+".contains(character);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else if text.contains(is_unprintable) {
        format!("$'{}'", text.chars().map(escaped).collect::<String>())
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// A character between `$'` and `'`.
fn escaped(character: char) -> String {
    let mut bytes = [0; 4];
    match character {
        '\'' | '\\' => format!("\\{character}"),
        _ if is_unprintable(character) => {
            let bytes = character.encode_utf8(&mut bytes).bytes();
            bytes.map(|byte| format!("\\x{byte:02x}")).collect()
        }
        _ => character.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_and_lines_are_readable() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([64 << 20, (64 << 20) + (1 << 19)].map(mib), ["64", "64.5"]);
        assert_eq!(
            [1, 1000].map(|figure| counted(figure, "segment")),
            ["1 segment", "1,000 segments"]
        );
        assert_eq!(wrap("a b"), "          a b\n");
        let long = wrap(&"word ".repeat(50));
        assert!(
            long.lines().count() > 2 && long.lines().all(|line| line.len() <= COLUMNS),
            "{long}"
        );
        assert_eq!(quoted("/tmp/slipring-demo-1-0"), "/tmp/slipring-demo-1-0");
        assert_eq!(quoted("/tmp/it's mine"), r"'/tmp/it'\''s mine'");
        assert_eq!(quoted("it's\n\\\u{202e}"), r"$'it\'s\x0a\\\xe2\x80\xae'");
    }
}
