//! Text for people and logs: secrets hidden, control characters escaped.
//!
//! Every URL that leaves this crate goes through [`redact`], and every text of a server or of
//! another crate through [`printable`]. What is hidden in a URL: user and password, and the values
//! of parameters whose names speak of a signature, a key, a token or their like. The names stay, so
//! that a reader sees what kind of URL it is.
//!
//! Passwords are found by their shape, because a URL whose password has a raw `/`, `?` or `#` can't
//! be read. `me:pw` is no host, as `pw` is no port, so all up to the last `@` is hidden.

use std::borrow::Cow;
use std::fmt::Write;

use percent_encoding::percent_decode_str;

/// What stands for a secret.
const HIDDEN: &str = "***";

/// A parameter whose name has one of these parts, in lower case, has a secret value.
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
    "hmac",
    "code",
];

/// Schemes of addresses, as they are written before `://`.
const SCHEMES: &[&str] =
    &["http", "https", "s3", "s3a", "gs", "az", "adl", "azure", "abfs", "abfss", "file", "ftp"];

/// A parameter without a name that is this long may be a secret as a whole.
const BARE_SECRET_BYTES: usize = 16;

/// The most bytes of a server's text in an error.
const SHOWN_BYTES: usize = 600;

/// A URL, or the path of a file, with its secrets hidden and its control characters escaped.
///
/// ```
/// use slipring_objects::redact;
///
/// assert_eq!(redact("https://me:pw@host/a?part=1&sig=abc"), "https://***@host/a?part=1&sig=***");
/// assert_eq!(redact("https://me:p/w@host/a"), "https://***@host/a");
/// ```
#[must_use]
pub fn redact(url: &str) -> String {
    let mut hidden = String::with_capacity(url.len());
    match url.split_once("://") {
        Some((scheme, after)) => {
            hidden.push_str(scheme);
            hidden.push_str("://");
            hide_in(scheme, after, &mut hidden);
        }
        None => {
            let start = without_slashes(url).unwrap_or(url.len());
            let (scheme, after) = url.split_at(start);
            hidden.push_str(scheme);
            let at = after.rfind('@').unwrap_or(0);
            hidden.push_str(if at > 0 { HIDDEN } else { "" });
            hidden.push_str(&after[at..]);
        }
    }
    let mut shown = String::with_capacity(hidden.len());
    hidden.chars().for_each(|c| push_escaped(c, &mut shown));
    shown
}

/// Where the address begins in a text that is meant as a URL and has no `://`: behind a scheme as
/// in `http:/host` and `http//host`, or at the start as in `me:pw@host/a`.
pub(crate) fn without_slashes(text: &str) -> Option<usize> {
    let scheme = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
    let is_scheme = SCHEMES.contains(&&*text[..scheme].to_ascii_lowercase());
    let after = &text[scheme..];
    if is_scheme && (after.starts_with(':') || after.starts_with("//")) {
        return Some(text.len() - after.trim_start_matches([':', '/']).len());
    }
    let first = text.split('/').next().unwrap_or_default();
    first.split_once(':').filter(|(_, after)| after.contains('@')).map(|_| 0)
}

/// A text with the secrets of the URLs in it hidden.
fn hide(text: &str) -> Cow<'_, str> {
    if !text.contains("://") {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut left = text;
    while let Some((scheme, after)) = left.split_once("://") {
        shown.push_str(scheme);
        shown.push_str("://");
        let mut end = url_end(after);
        let until = after.find("://").unwrap_or(after.len());
        if user_end(&after[..end]).is_none()
            && let Some(at) = user_end(&after[..until])
        {
            // The password has a character that ends a URL.
            end = at + url_end(&after[at..]);
        }
        hide_in(scheme, &after[..end], &mut shown);
        left = &after[end..];
    }
    shown.push_str(left);
    Cow::Owned(shown)
}

/// Where no URL goes on: at white space or a quotation mark.
fn url_end(text: &str) -> usize {
    text.find(|c: char| c.is_whitespace() || "\"<>`".contains(c)).unwrap_or(text.len())
}

/// The `@` behind user and password in a URL without its scheme.
fn user_end(url: &str) -> Option<usize> {
    let authority_end = url.find(['/', '?', '#']).unwrap_or(url.len());
    let authority = &url[..authority_end];
    if authority.contains('@') {
        // The password may go on after a `/`.
        return url[..url.find(['?', '#']).unwrap_or(url.len())].rfind('@');
    }
    let port = authority.rsplit_once(':').map_or("", |(_, port)| port);
    let is_host = authority.ends_with(']') || port.bytes().all(|byte| byte.is_ascii_digit());
    if is_host && !authority.is_empty() { None } else { url.rfind('@') }
}

/// One URL without its scheme.
fn hide_in(scheme: &str, url: &str, shown: &mut String) {
    if scheme.to_ascii_lowercase().ends_with("file") && url.starts_with('/') {
        shown.push_str(url);
        return;
    }
    let rest = user_end(url).map_or(url, |at| {
        shown.push_str(HIDDEN);
        &url[at..]
    });
    let query = rest.find(['?', '#']).unwrap_or(rest.len());
    shown.push_str(&rest[..query]);
    hide_parameters(&rest[query..], shown);
}

/// A query, or a fragment, or both, with the marks before them.
pub(crate) fn hide_parameters(text: &str, shown: &mut String) {
    for parameter in text.split_inclusive(['?', '#', '&']) {
        let (parameter, mark) = match parameter.char_indices().next_back() {
            Some((at, '?' | '#' | '&')) => parameter.split_at(at),
            _ => (parameter, ""),
        };
        hide_value(parameter, shown);
        shown.push_str(mark);
    }
}

/// What is between two marks. Some servers take `;` as one.
fn hide_value(text: &str, shown: &mut String) {
    for parameter in text.split_inclusive(';') {
        match parameter.split_once('=') {
            Some((name, _)) if is_secret(name) => {
                shown.push_str(name);
                shown.push('=');
                shown.push_str(HIDDEN);
                // A `;` may be part of the value.
                return;
            }
            None if parameter.len() >= BARE_SECRET_BYTES || parameter.contains('@') => {
                shown.push_str(HIDDEN);
            }
            _ => shown.push_str(parameter),
        }
    }
}

fn is_secret(name: &str) -> bool {
    let name = percent_decode_str(name).decode_utf8_lossy().to_ascii_lowercase();
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
            ("", ""),
            ("a plain text", "a plain text"),
            ("http://token@h/", "http://***@h/"),
            (
                "https://b/k?X-Amz-Date=1&X-Amz-Credential=AK/1&X-Amz-Signature=ff&versionId=3",
                "https://b/k?X-Amz-Date=1&X-Amz-Credential=***&X-Amz-Signature=***&versionId=3",
            ),
            ("https://a/c/b?sv=2024&SIG=x%3D&sp=r", "https://a/c/b?sv=2024&SIG=***&sp=r"),
            ("https://h/a?0123456789abcdef", "https://h/a?***"),
            ("https://h/a?list", "https://h/a?list"),
            ("file:///tmp/a@b?key=1", "file:///tmp/a@b?key=1"),
            ("https://h/a?b=1;sig=2;3&c=4", "https://h/a?b=1;sig=***&c=4"),
            ("https://h/a?s%69g=2", "https://h/a?s%69g=***"),
            ("https://h/a?b=c?sig=2", "https://h/a?b=c?sig=***"),
            ("https://h/a#access_token=1", "https://h/a#access_token=***"),
        ] {
            assert_eq!(redact(text), shown, "{text}");
        }
    }

    #[test]
    fn passwords_are_hidden_also_in_urls_that_cant_be_read() {
        for (text, shown) in [
            ("http://me:p/w@h/a", "http://***@h/a"),
            ("http://me:p#w@h/a?b=c", "http://***@h/a?b=c"),
            ("http://me:p?w@h:1/a", "http://***@h:1/a"),
            ("http://me:p@w/x@h/a", "http://***@h/a"),
            ("http://me:p w@h/a", "http://***@h/a"),
            ("http://me:p\n\"<w@h/a", "http://***@h/a"),
            ("http://me:p\\w@h", "http://***@h"),
            ("http://me:p/w@[::1]:9/a", "http://***@[::1]:9/a"),
            ("http:///me:pw@h/a", "http://***@h/a"),
            ("http://me:pw@[::/x", "http://***@[::/x"),
            ("s3://AK:se/cret@b/k", "s3://***@b/k"),
            ("s3://b#pw@h/k", "s3://b#***"),
            ("file://me:pw@h/a", "file://***@h/a"),
            ("http:/me:pw@h/a", "http:/***@h/a"),
            ("HTTP:me:pw@h", "HTTP:***@h"),
            ("http//me:p/w@h/a", "http//***@h/a"),
            ("me:pw@h:a", "***@h:a"),
            ("me:p@w@h/a", "***@h/a"),
        ] {
            assert_eq!(redact(text), shown, "{text}");
        }
        // Nothing here has the shape of a password.
        for text in [
            "http://h:9000/b/a@b.npy",
            "http://h/@scope/a",
            "http://[::1]/a@b",
            "http://[::1]:9/a@b",
            "s3://bucket/2026-01-01T10:00:00@a.npy",
            "/tmp/a:b@c",
            "./a:b@c",
            "a/b:c@d",
            "a@b:c",
            "http",
            "https/a@b",
        ] {
            assert_eq!(redact(text), text);
        }
    }

    #[test]
    fn secrets_are_hidden_in_the_middle_of_a_text() {
        for (text, shown) in [
            ("GET http://u:p@h:1/a?b=c failed", "GET http://***@h:1/a?b=c failed"),
            (
                "https://h/a?access_token=1 and https://i/?sig=2",
                "https://h/a?access_token=*** and https://i/?sig=***",
            ),
            ("`http://u:p w@h/a` and http://i/b@c", "`http://***@h/a` and http://i/b@c"),
            ("http://u:p/w@h/a isn't read", "http://***@h/a isn't read"),
            ("http://h/a wasn't found by me@i", "http://h/a wasn't found by me@i"),
        ] {
            assert_eq!(printable(text), shown, "{text}");
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
