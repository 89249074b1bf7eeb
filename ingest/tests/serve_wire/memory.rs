//! Pools and rings so small that full is the normal state.

use std::time::Duration;

use slipring_ingest::protocol::Mode;
use slipring_test_support::within;

use crate::support::service::{Service, try_start};
use crate::support::{folder, score, segments, vector};

/// The least pool that `--reclaim overwrite` accepts for these words.
fn least_pool(dim: u32, words: &str) -> u64 {
    let folder = folder();
    let error = try_start(folder.path(), dim, &format!("{words} --pool 8KiB"))
        .expect_err("8 KiB are too little")
        .to_string();
    let figure = error.split("at least ").nth(1).and_then(|rest| rest.split(' ').next());
    figure.and_then(|figure| figure.parse().ok()).unwrap_or_else(|| panic!("no figure in {error}"))
}

/// Each request comes alone, so each receive spends a header and a line's rest beside the payload.
#[test]
fn the_least_pool_on_overwrite_holds_a_ring_of_lone_requests() {
    within(Duration::from_secs(60), || {
        for (dim, mode) in
            [(16, Mode::Header), (16, Mode::Count), (15, Mode::Count), (1, Mode::Header)]
        {
            let words = "--reclaim overwrite --slots 512 --max-vectors 1";
            let mut service =
                Service::start(dim, &format!("{words} --pool {}", least_pool(dim, words)));
            let mut client = if mode == Mode::Count { service.count() } else { service.header() };
            for id in 0..2000 {
                client.send(id.into(), &vector(dim as usize, id));
                assert_eq!(
                    client.answer().scores,
                    [score(dim as usize, id)],
                    "{mode:?}, dimension {dim}"
                );
            }
            drop(client);
            service.stop();
            assert_eq!(segments::ids(&service.data(), dim as usize), (0..2000).collect::<Vec<_>>());
        }
    });
}
