//! Keys that a careless client fetches another object for. Each one comes back with its own bytes,
//! by every spelling, or is refused.

use std::fs;

use bytes::Bytes;
use object_store::ObjectStoreExt;
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use slipring_objects::{RangeEngine, RangeOptions};

use super::place::{Place, object, places};

/// All of them are keys of S3. Neighbours differ in what a parser of URLs or paths drops.
const KEYS: &[&str] = &[
    "a/b",
    "/a/b",
    "a//b",
    "a///b",
    "a/b/",
    "a/b//",
    "//a/b",
    "a b",
    "a b ",
    " a b",
    "a+b",
    "a%20b",
    "a%2Fb",
    "a%2fb",
    "%2Fa",
    "a%252Fb",
    "%",
    "%%",
    "%41",
    "100%",
    "a?b",
    "a?",
    "a#b",
    "a#1",
    "a#",
    "a&b=c",
    "a;b",
    "a:b",
    "a@b",
    "a\\b",
    "a\"b",
    "a'b",
    "a<b>",
    "a|b",
    "a^b`{c}",
    "a[b]",
    "a~b",
    "a*b!",
    "ü",
    "u\u{308}",
    "∆/ø/🦀",
    "...",
    "..a",
    "a..",
    ".a/.b",
    "a\tb",
    "a\u{1}b",
    "a\u{7f}b",
];

/// No spelling of these is sent.
const REFUSED: &[&str] = &[".", "..", "a/../b", "a/./b", "../a", "a/..", "./a"];

/// Only what has a meaning in a URL is escaped, as a person would write it.
fn short(key: &str) -> String {
    const MEANING: &AsciiSet = &CONTROLS.add(b'%').add(b'?').add(b'#');
    utf8_percent_encode(key, MEANING).to_string()
}

/// Everything is escaped, also the slashes.
fn long(key: &str) -> String {
    utf8_percent_encode(key, NON_ALPHANUMERIC).to_string()
}

/// Puts an object by its URL, unless the store refuses the key.
async fn put(place: &Place, url: &str, bytes: &Bytes) -> bool {
    if place.is_local {
        let file = place.file(url);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
        return true;
    }
    let Ok((store, path)) = place.open(url) else { return false };
    store.put(&path, bytes.clone().into()).await.is_ok()
}

async fn get(place: &Place, engine: &RangeEngine, url: &str) -> Option<Bytes> {
    let (store, path) = place.open(url).ok()?;
    engine.get(&*store, &path).await.ok().map(|download| download.bytes)
}

/// Whether a key has parts that only a store with keys can have: empty ones.
fn has_empty_parts(key: &str) -> bool {
    key.split('/').any(str::is_empty)
}

/// Whether the server keeps a key apart from a plainer one. One that stores objects as files may
/// not: SeaweedFS drops empty parts and turns `\\` into `/`, whatever a client asks for.
async fn is_kept_apart(place: &Place, engine: &RangeEngine, seed: usize, key: &str) -> bool {
    let parts = key.split(['/', '\\']).filter(|part| !part.is_empty());
    let plainer = parts.collect::<Vec<_>>().join("/");
    if plainer == key || place.is_local {
        return !place.is_local || !has_empty_parts(key);
    }
    let [one, other] =
        [&*plainer, key].map(|key| place.folder_url(&format!("probe{seed}/{}", short(key))));
    let bytes = object(1000 + seed, 100);
    assert!(put(place, &one, &bytes).await, "{}", place.name);
    put(place, &other, &object(2000 + seed, 100)).await
        && get(place, engine, &one).await == Some(bytes)
}

#[tokio::test]
async fn every_key_is_its_own_object_or_refused() {
    for place in places("nasty") {
        let engine = RangeEngine::new(&RangeOptions::default()).unwrap();
        let has_keys = ["s3://", "gs://"].iter().any(|scheme| place.name.starts_with(scheme));
        let mut stored = Vec::new();
        for (seed, key) in KEYS.iter().enumerate() {
            let (url, bytes) = (place.folder_url(&short(key)), object(seed, 100 + seed));
            assert!(
                !has_keys || place.open(&url).is_ok(),
                "{url}: some spelling reaches every key"
            );
            if is_kept_apart(&place, &engine, seed, key).await && put(&place, &url, &bytes).await {
                stored.push((key, bytes));
            }
        }
        // All of them are there before the first one is asked for.
        for (key, bytes) in &stored {
            for spelling in [short(key), long(key)] {
                let url = place.folder_url(&spelling);
                let got = get(&place, &engine, &url).await;
                assert!(got.as_ref() == Some(bytes), "{}: {key:?} by {url}: {got:?}", place.name);
            }
        }
        let least = if has_keys { KEYS.len() / 2 } else { 10 };
        assert!(stored.len() >= least, "{}: only {} keys", place.name, stored.len());
        for key in REFUSED {
            for spelling in [(*key).to_owned(), short(key), long(key)] {
                let url = place.folder_url(&spelling);
                // The system resolves the path of a file, exactly as for other programs.
                assert!(place.is_local || place.open(&url).is_err(), "{url}");
            }
        }
        println!("{}: {} of {} keys", place.name, stored.len(), KEYS.len());
    }
}
