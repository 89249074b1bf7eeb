//! Text for people and logs: secrets hidden, control characters escaped.
//!
//! Every URL and every text of a server that leaves this crate goes through [`redact`] or
//! [`printable`]. What is hidden in a URL: user and password, and the values of query parameters
//! whose names speak of a signature, a key, a token or their like. The names stay, so that a reader
//! sees what kind of URL it is.

use std::borrow::Cow;
use std::fmt::Write;

/// What stands for a secret.
const HIDDEN: &str = "***";

/// A query parameter whose name has one of these parts, in lower case, has a secret value.
const SECRET_NAMES: &[&str] = &[
    "sig",
    "token",
    "secret",
    "passw",
    "pwd",
    "credential",
    "key",
    "auth",
    "session",
    "jwt",
    "sas",
    "policy",
    "otp",
    "ticket",
];

/// A query without a name that is this long may be a secret as a whole.
const BARE_SECRET_BYTES: usize = 16;

/// The most bytes of a server's text in an error.
const SHOWN_BYTES: usize = 600;

/// The text with the secrets of its URLs hidden and its control characters escaped.
///
/// ```
/// use slipring_objects::redact;
///
/// assert_eq!(redact("https://me:pw@host/a?part=1&sig=abc"), "https://***@host/a?part=1&sig=***");
/// ```
#[must_use]
pub fn redact(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in hide(text).chars() {
        push_escaped(c, &mut shown);
    }
    shown
}

fn hide(text: &str) -> Cow<'_, str> {
    if !text.contains("://") {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut left = text;
    while let Some(at) = left.find("://") {
        let (before, after) = left.split_at(at + 3);
        shown.push_str(before);
        let is_file = before.to_ascii_lowercase().ends_with("file://");
        // The URL ends where no URL goes on: at white space or a quotation mark.
        let end = after.find(|c: char| c.is_whitespace() || "\"<>`".contains(c));
        let (url, rest) = after.split_at(end.unwrap_or(after.len()));
        if is_file {
            shown.push_str(url);
        } else {
            hide_in(url, &mut shown);
        }
        left = rest;
    }
    shown.push_str(left);
    Cow::Owned(shown)
}

/// One URL without its scheme.
fn hide_in(url: &str, shown: &mut String) {
    let authority_end = url.find(['/', '?', '#']).unwrap_or(url.len());
    let (authority, rest) = url.split_at(authority_end);
    match authority.rsplit_once('@') {
        Some((_, host)) => {
            shown.push_str(HIDDEN);
            shown.push('@');
            shown.push_str(host);
        }
        None => shown.push_str(authority),
    }
    let Some((path, query)) = rest.split_once('?') else {
        shown.push_str(rest);
        return;
    };
    shown.push_str(path);
    for (index, parameter) in query.split('&').enumerate() {
        shown.push(if index == 0 { '?' } else { '&' });
        match parameter.split_once('=') {
            Some((name, _)) if is_secret(name) => {
                shown.push_str(name);
                shown.push('=');
                shown.push_str(HIDDEN);
            }
            None if parameter.len() >= BARE_SECRET_BYTES => shown.push_str(HIDDEN),
            _ => shown.push_str(parameter),
        }
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_NAMES.iter().any(|part| name.contains(part))
}

/// A text for one line of an error: secrets hidden, control characters escaped, no more than a few
/// hundred bytes. Of an XML answer only its code and message are shown, because stores repeat
/// tokens and what was signed in the rest.
pub(crate) fn printable(text: &str) -> String {
    let text = match text.split_once("<?xml").or_else(|| text.split_once("<Error>")) {
        Some((before, xml)) => {
            let of = |name| element(xml, name).unwrap_or_default();
            Cow::Owned(format!("{before}{} {}", of("Code"), of("Message")))
        }
        None => Cow::Borrowed(text),
    };
    let text = hide(text.trim());
    let mut shown = String::with_capacity(text.len().min(SHOWN_BYTES));
    for c in text.chars() {
        if shown.len() >= SHOWN_BYTES {
            shown.push_str("...");
            break;
        }
        push_escaped(c, &mut shown);
    }
    shown
}

fn push_escaped(c: char, shown: &mut String) {
    if c.is_control() {
        // Writing to a string can't fail.
        let _ = write!(shown, "{}", c.escape_default());
    } else {
        shown.push(c);
    }
}

/// The text of the first element of this name.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_and_the_rest_stays() {
        for (text, shown) in [
            ("a plain text", "a plain text"),
            ("GET http://u:p@h:1/a?b=c failed", "GET http://***@h:1/a?b=c failed"),
            ("http://token@h/", "http://***@h/"),
            (
                "https://b/k?X-Amz-Date=1&X-Amz-Credential=AK/1&X-Amz-Signature=ff&versionId=3",
                "https://b/k?X-Amz-Date=1&X-Amz-Credential=***&X-Amz-Signature=***&versionId=3",
            ),
            ("https://a/c/b?sv=2024&SIG=x%3D&sp=r", "https://a/c/b?sv=2024&SIG=***&sp=r"),
            (
                "https://h/a?access_token=1 and https://i/?sig=2",
                "https://h/a?access_token=*** and https://i/?sig=***",
            ),
            ("https://h/a?0123456789abcdef", "https://h/a?***"),
            ("https://h/a?list", "https://h/a?list"),
            ("file:///tmp/a@b?key=1", "file:///tmp/a@b?key=1"),
        ] {
            assert_eq!(redact(text), shown);
        }
    }

    #[test]
    fn a_servers_text_is_one_short_line() {
        let xml = "status 403: <?xml version=\"1.0\"?>\n<Error><Code>InvalidToken</Code><Message>The token\nis bad</Message><Token-0>secret</Token-0><AWSAccessKeyId>AK</AWSAccessKeyId></Error>";
        assert_eq!(printable(xml), "status 403: InvalidToken The token\\nis bad");
        assert_eq!(printable("a\u{1b}[31mred\r\n"), "a\\u{1b}[31mred");
        assert_eq!(printable(&"x".repeat(5000)).len(), SHOWN_BYTES + 3);
    }
}
