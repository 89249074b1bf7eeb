//! Connections are kept: 100 objects of one store don't open 100 of them. A server that counts what it accepts says how many there were.
//!
//! On one thread the count is exact. On several, a connection whose answer has been read goes back to the client's pool on another thread, a moment
//! after the next request may have asked for one: then a new one is opened, which is kept, too.

mod connections {
    pub mod server;
}

use std::sync::Arc;

use connections::server::{OBJECT_BYTES, Server, object};
use futures_util::future::join_all;
use slipring_objects::{RangeEngine, RangeOptions, Stores};

const OBJECTS: usize = 100;

/// Opens the URL anew, as a program does that has a list of them, and downloads it.
async fn get(engine: &RangeEngine, stores: &Stores, server: &Server, key: &str) {
    let (store, path) = stores.open(&server.url(key)).unwrap();
    let got = engine.get(&*store, &path).await.unwrap_or_else(|error| panic!("{error}"));
    assert!(got.bytes == object(key), "{key}: other bytes came");
}

#[tokio::test]
async fn one_connection_serves_objects_got_one_after_the_other() {
    let (server, stores) = (Server::start().await, Stores::default());
    let engine = RangeEngine::new(&RangeOptions::default()).unwrap();
    for index in 0..OBJECTS {
        get(&engine, &stores, &server, &format!("{index}")).await;
    }
    assert_eq!((server.requests(), server.connections()), (OBJECTS, 1));
    assert_eq!(stores.clients(), 1);
}

#[tokio::test]
async fn objects_got_side_by_side_share_as_many_connections_as_requests_may_be_in_flight() {
    const CONCURRENCY: usize = 4;
    const PART_BYTES: usize = 4096;
    let (server, stores) = (Server::start().await, Stores::default());
    let engine = RangeEngine::new(&RangeOptions {
        part_bytes: Some(PART_BYTES as u64),
        concurrency: Some(CONCURRENCY),
        ..RangeOptions::default()
    })
    .unwrap();
    let keys: Vec<String> = (0..OBJECTS).map(|index| format!("{index}")).collect();
    join_all(keys.iter().map(|key| get(&engine, &stores, &server, key))).await;
    assert_eq!(server.requests(), OBJECTS * OBJECT_BYTES.div_ceil(PART_BYTES));
    assert!((1..=CONCURRENCY).contains(&server.connections()), "{} connections", server.connections());
    assert_eq!(stores.clients(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connections_are_kept_on_several_threads_too() {
    let (server, stores) = (Server::start().await, Stores::default());
    let engine = RangeEngine::new(&RangeOptions { concurrency: Some(4), ..RangeOptions::default() }).unwrap();
    for index in 0..OBJECTS {
        get(&engine, &stores, &server, &format!("{index}")).await;
    }
    let keys: Vec<String> = (0..OBJECTS).map(|index| format!("again-{index}")).collect();
    join_all(keys.iter().map(|key| get(&engine, &stores, &server, key))).await;
    assert_eq!(server.requests(), 2 * OBJECTS);
    assert!(server.connections() < OBJECTS / 4, "{} connections", server.connections());
}

#[tokio::test]
async fn a_bucket_has_one_client_however_often_it_is_opened() {
    let stores = Stores::new([("aws_skip_signature", "true")].map(|(key, value)| (key.to_owned(), value.to_owned())));
    let (first, _) = stores.open("s3://bucket/a").unwrap();
    let (second, path) = stores.open("s3://bucket/folder/b").unwrap();
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!((path.as_ref(), stores.clients()), ("folder/b", 1));
    stores.open("s3://other/a").unwrap();
    assert_eq!(stores.clients(), 2);
}
