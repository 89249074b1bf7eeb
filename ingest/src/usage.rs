//! What is wrong with a command line, as it is said to the person in front of it.

use std::ffi::OsString;

use clap::error::ErrorKind;

/// The error's text, with a tip where a name has one dash instead of two.
pub(crate) fn explained(error: &clap::Error, words: impl Iterator<Item = OsString>) -> String {
    let text = error.render().to_string();
    let words = words.map(|word| word.to_string_lossy().into_owned());
    let is_unknown = error.kind() == ErrorKind::UnknownArgument;
    match words.filter(|_| is_unknown).find_map(|word| long_name(&word)) {
        Some(name) => format!("{text}\n  tip: names of options have two dashes: {name}\n"),
        None => text,
    }
}

/// `-name` with two dashes.
fn long_name(word: &str) -> Option<String> {
    let name = word.strip_prefix('-')?;
    let is_name = name.len() > 1 && name.chars().all(|c| c.is_ascii_lowercase() || c == '-');
    (is_name && !name.starts_with('-')).then(|| format!("--{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_dash_is_named() {
        for (word, name) in [
            ("-dim", Some("--dim")),
            ("-max-vectors", Some("--max-vectors")),
            ("--dim", None),
            ("-h", None),
            ("-1", None),
            ("-", None),
            ("", None),
            ("dim", None),
        ] {
            assert_eq!(long_name(word).as_deref(), name, "{word}");
        }
    }
}
