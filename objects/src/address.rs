//! What a URL names: the text is read as it was written, because a parser of URLs resolves `..`,
//! drops line breaks and turns `\` into `/`, and then another object would be fetched.
//!
//! - `s3://`, `gs://`, `az://` and their like: everything behind the bucket's `/` is the key, with
//!   `%XX` decoded. So `%2F` is a slash, and `//` two of them. No part of a key may be `.` or `..`:
//!   no client, proxy or server of HTTP leaves them alone.
//! - `http(s)://`: path and query are sent as written. Characters that a request can't have are
//!   encoded.
//! - `file://`, with `%XX` decoded, or a path as it is.

use std::error::Error;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{self, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use object_store::path::Path;
use object_store::{HeaderValue, ObjectStoreScheme};
use percent_encoding::{
    AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode,
};
use url::Url;

use crate::redact::{hide_parameters, without_slashes};

/// Why a URL names no object, or its store can't be set up.
pub(crate) type Refusal = Box<dyn Error + Send + Sync>;

/// What a request's target can't have. A `%` stays: it is an escape of the caller's.
const UNSENDABLE: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}')
    .add(b'#');

/// What a key's escape has in every spelling.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// What a URL names.
#[derive(Debug)]
pub(crate) enum Address {
    /// An object of a store with keys.
    Key {
        scheme: ObjectStoreScheme,
        /// The store's URL, up to the key.
        store: String,
        key: String,
    },
    /// An object of a web server.
    Web(WebAddress),
    /// A local file.
    File(PathBuf),
}

/// An object of a web server.
pub(crate) struct WebAddress {
    /// Scheme, host and port, with a slash at the end.
    pub(crate) origin: String,
    /// Path and query, as they are sent.
    pub(crate) target: String,
    /// The header that user and password make.
    pub(crate) authorization: Option<HeaderValue>,
}

impl std::fmt::Debug for WebAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.origin)
    }
}

impl Address {
    /// Reads a URL, or the path of a local file. Connects to nothing.
    pub(crate) fn parse(text: &str) -> Result<Address, Refusal> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return match without_slashes(text) {
                // Else a password would be in the name of a file.
                Some(_) => Err("it looks like a URL without ://; write that, or ./ before it if it is the path of a file".into()),
                None => local(PathBuf::from(text)),
            };
        };
        let scheme = scheme.to_ascii_lowercase();
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        if let Some(odd) = authority.chars().find(|&c| c.is_control() || c == ' ' || c == '\\') {
            return Err(format!("its host has the character {odd:?}").into());
        }
        match scheme.as_str() {
            "file" if authority.is_empty() || authority == "localhost" => {
                check_sent(target)?;
                local(PathBuf::from(OsString::from_vec(percent_decode_str(target).collect())))
            }
            "http" | "https" => web(&scheme, authority, target),
            _ => bucket(&scheme, authority, target),
        }
    }
}

impl WebAddress {
    /// The object for people, and the name of its file: path without escapes and query.
    pub(crate) fn path(&self) -> Path {
        let path = self.target.split('?').next().unwrap_or_default();
        let decoded = percent_decode_str(path.strip_prefix('/').unwrap_or(path));
        spelled(&decoded.decode_utf8_lossy())
    }
}

/// A key as a [`Path`], which has no empty parts and no control characters: those are written as
/// they are in a URL.
pub(crate) fn spelled(key: &str) -> Path {
    if let Some(path) = plain(key) {
        return path;
    }
    let (mut text, mut starts) = (String::with_capacity(key.len() + 8), true);
    for (at, c) in key.char_indices() {
        if c == '/' && (starts || at + 1 == key.len()) {
            text.push_str("%2F");
            starts = false;
        } else if c == '/' {
            text.push('/');
            starts = true;
        } else {
            text.extend(utf8_percent_encode(c.encode_utf8(&mut [0; 4]), ESCAPED));
            starts = false;
        }
    }
    let text = match text.rsplit_once('/') {
        // Only of an address in the web; nobody asks a store for it by this name.
        Some((folder, dots @ ("." | ".."))) => format!("{folder}/{}", dots.replace('.', "%2E")),
        _ => text,
    };
    Path::parse(&text).unwrap_or_else(|_| Path::from(text))
}

/// A key that a [`Path`] can be as it is.
pub(crate) fn plain(key: &str) -> Option<Path> {
    Path::parse(key).ok().filter(|path| path.as_ref() == key)
}

/// Reads what a spelled key and the client's encoding of it make of a path, back to the key, and
/// encodes that.
pub(crate) fn sent_path(path: &str) -> Option<String> {
    /// What isn't encoded in a path whose signature is computed.
    const KEY: &AsciiSet =
        &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
    let spelled = percent_decode_str(path).decode_utf8().ok()?;
    let key = percent_decode_str(&spelled).decode_utf8().ok()?;
    Some(utf8_percent_encode(&key, KEY).to_string())
}

fn bucket(scheme: &str, authority: &str, target: &str) -> Result<Address, Refusal> {
    // The parsers look at the bucket, and never see the key.
    let mut store = format!("{scheme}://{authority}/");
    // What the parser says of a URL that it doesn't know is about the one with this key.
    let (kind, _) = ObjectStoreScheme::parse(&Url::parse(&format!("{store}x/y"))?)
        .map_err(|_| no_store(scheme, authority))?;
    let is_azure = kind == ObjectStoreScheme::MicrosoftAzure;
    if authority.contains('@') && !is_azure {
        return Err("a bucket has no user; give the credentials in the environment".into());
    }
    check_sent(target)?;
    let mut raw = target.strip_prefix('/').unwrap_or(target);
    if scheme == "https" && has_bucket_in_path(&store)? {
        let (bucket, key) = raw.split_once('/').unwrap_or((raw, ""));
        store.push_str(bucket);
        store.push('/');
        raw = key;
    }
    let key = percent_decode_str(raw)
        .decode_utf8()
        .map_err(|_| "its key isn't UTF-8, with %XX decoded")?
        .into_owned();
    if key.is_empty() {
        return Err("it names no object".into());
    }
    check_dots(&key, &store, "key")?;
    Ok(Address::Key { scheme: kind, store, key })
}

fn no_store(scheme: &str, authority: &str) -> String {
    if authority.is_empty() && ["s3", "s3a", "gs", "az", "azure", "abfs", "abfss"].contains(&scheme)
    {
        return "its bucket is missing".to_owned();
    }
    format!("there is no store for {scheme}://")
}

/// Whether the path of this store's URLs begins with the bucket.
fn has_bucket_in_path(store: &str) -> Result<bool, Refusal> {
    let (_, key) = ObjectStoreScheme::parse(&Url::parse(&format!("{store}x/y"))?)?;
    Ok(key.as_ref() == "y")
}

fn web(scheme: &str, authority: &str, target: &str) -> Result<Address, Refusal> {
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let origin = Url::parse(&format!("{scheme}://{host}/"))?;
    let (kind, _) = ObjectStoreScheme::parse(&origin)?;
    // A query or a user signs the request already, so the store is asked as any server is.
    if kind != ObjectStoreScheme::Http && user.is_none() && !target.contains('?') {
        return bucket(scheme, host, target);
    }
    check_fragment(target)?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if path.trim_start_matches('/').is_empty() && query.is_empty() {
        return Err("it names no object".into());
    }
    check_dots(&without_dot_escapes(path), origin.as_str().trim_end_matches('/'), "path")?;
    let slash = if path.starts_with('/') { "" } else { "/" };
    let target = format!("{slash}{}", utf8_percent_encode(target, UNSENDABLE));
    let authorization = user.map(basic).transpose()?;
    Ok(Address::Web(WebAddress { origin: origin.into(), target, authorization }))
}

fn without_dot_escapes(path: &str) -> String {
    path.replace("%2e", ".").replace("%2E", ".")
}

/// The header of user and password.
fn basic(user: &str) -> Result<HeaderValue, Refusal> {
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    let mut pair: Vec<u8> = percent_decode_str(user).collect();
    pair.push(b':');
    pair.extend(percent_decode_str(password));
    let mut value = HeaderValue::try_from(format!("Basic {}", BASE64_STANDARD.encode(pair)))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Refuses a query or a fragment: it wouldn't be sent to the store, so another object might be
/// fetched.
fn check_sent(target: &str) -> Result<(), Refusal> {
    if let Some(at) = target.find('?').filter(|at| !target[..*at].contains('#')) {
        let query = shown_parameters(&target[at..]);
        return Err(format!("`{query}` isn't part of a key; write %3F for a ? of the key").into());
    }
    check_fragment(target)
}

fn check_fragment(target: &str) -> Result<(), Refusal> {
    match target.find('#') {
        Some(at) => {
            let fragment = shown_parameters(&target[at..]);
            Err(format!("`{fragment}` isn't part of a key; write %23 for a # of the key").into())
        }
        None => Ok(()),
    }
}

fn shown_parameters(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    hide_parameters(text, &mut shown);
    shown
}

/// Refuses parts that are `.` or `..`: they are resolved on the way, and another object would come.
fn check_dots(key: &str, store: &str, what: &str) -> Result<(), Refusal> {
    let Some(dots) = key.split('/').find(|part| [".", ".."].contains(part)) else { return Ok(()) };
    let mut resolved: Vec<&str> = Vec::new();
    for part in key.split('/') {
        match part {
            "." => {}
            ".." => drop(resolved.pop()),
            part => resolved.push(part),
        }
    }
    let meant = resolved.join("/");
    Err(format!(
        "its {what} has the part `{dots}`, which HTTP resolves on the way; write {store}{meant} if \
         that is meant, or copy the object to a key without it"
    )
    .into())
}

/// A local file, absolute.
fn local(file: PathBuf) -> Result<Address, Refusal> {
    if file.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return Err("it names no object, but a folder".into());
    }
    let mut file = path::absolute(file)?;
    if file.components().any(|part| part == path::Component::ParentDir) {
        // Only the system knows where `..` leads after a link. The file's own name stays.
        let (Some(folder), Some(name)) = (file.parent(), file.file_name()) else {
            return Err("it names no file".into());
        };
        file = folder.canonicalize()?.join(name);
    }
    Ok(Address::File(file))
}

#[cfg(test)]
mod tests;
