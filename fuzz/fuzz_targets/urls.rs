//! URLs of objects, and paths of files. Nothing is connected to.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use slipring_objects::{Stores, fuzzing::parse_address};

/// One of this many inputs is opened as well: making an HTTP client takes a thousand times as long
/// as reading a URL.
const OPENED_OF: usize = 64;
/// Clients that are made before all are dropped: each needs some memory.
const CLIENTS_MAX: usize = 64;

/// Stores that need nothing from the environment.
fn stores() -> Stores {
    let settings = [
        ("AWS_ENDPOINT", "http://127.0.0.1:1"),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_SKIP_SIGNATURE", "true"),
        ("GOOGLE_SKIP_SIGNATURE", "true"),
        ("AZURE_STORAGE_ACCOUNT_NAME", "account"),
        ("AZURE_SKIP_SIGNATURE", "true"),
    ];
    Stores::new(settings.map(|(key, value)| (key.to_owned(), value.to_owned())))
}

thread_local! {
    static STORES: RefCell<Stores> = RefCell::new(stores());
}

fuzz_target!(|url: &str| {
    let refusal = parse_address(url);
    assert!(refusal.as_ref().is_none_or(|text| !text.is_empty()));
    assert_eq!(parse_address(url), refusal);
    if url.bytes().map(usize::from).sum::<usize>() % OPENED_OF != 0 {
        return;
    }
    STORES.with_borrow_mut(|all| {
        if all.clients() >= CLIENTS_MAX {
            *all = stores();
        }
        match all.open(url) {
            Ok((_, key)) => {
                // The root of a web server is an object too, if that is what was asked for.
                let is_web = url.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http"));
                assert!(is_web || !key.as_ref().is_empty());
                // The same spelling leads to the same object, through the same client.
                let clients = all.clients();
                assert_eq!(all.open(url).map(|(_, again)| again).ok(), Some(key));
                assert_eq!(all.clients(), clients);
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    });
});
