//! Text from outside on a terminal or in a log: names of objects and files, and texts of servers.

use std::any::Any;
use std::fmt::{self, Display, Write};

/// A text as one line that shows all of its characters. Characters that control a terminal, end the
/// line, or change the order or the visibility of others are escaped as in Rust: `\n`, `\u{1b}`.
/// Padding has no effect on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printable<T>(pub(crate) T);

impl<T: Display> Display for Printable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Escape<'a, 'b>(&'a mut fmt::Formatter<'b>);

        impl Write for Escape<'_, '_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                for piece in text.split_inclusive(is_unprintable) {
                    match piece.char_indices().next_back().filter(|(_, last)| is_unprintable(*last))
                    {
                        Some((at, last)) => {
                            write!(self.0, "{}{}", &piece[..at], last.escape_default())?;
                        }
                        None => self.0.write_str(piece)?,
                    }
                }
                Ok(())
            }
        }

        write!(Escape(f), "{}", self.0)
    }
}

/// Whether a character is escaped.
pub(crate) fn is_unprintable(character: char) -> bool {
    let is_invisible = matches!(
        character,
        '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
    );
    character.is_control() || is_invisible
}

/// What a panic said, from what it carries.
pub(crate) fn panic_text(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_misleads_is_escaped() {
        for (text, shown) in [
            ("", ""),
            ("s3://b/a plain näme/日本 \"q\" \\n", "s3://b/a plain näme/日本 \"q\" \\n"),
            ("a\nslipring: ready", "a\\nslipring: ready"),
            ("\r\t\0\u{1b}[2J\u{7f}", "\\r\\t\\u{0}\\u{1b}[2J\\u{7f}"),
            ("gpj\u{202e}npy.a\u{200b}\u{feff}", "gpj\\u{202e}npy.a\\u{200b}\\u{feff}"),
            ("\u{85}\u{9b}31m", "\\u{85}\\u{9b}31m"),
            ("\n", "\\n"),
        ] {
            assert_eq!(Printable(text).to_string(), shown, "{text:?}");
        }
        assert_eq!(Printable(format_args!("{}: {}", "a\n", 7)).to_string(), "a\\n: 7");
    }
}
