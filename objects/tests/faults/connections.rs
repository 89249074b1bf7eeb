//! Connections are reused: downloading 100 objects of one store doesn't open 100 connections. The
//! server counts the connections that it accepts.
//!
//! On one thread the count is exact. On several threads, a connection returns to the client's pool
//! a moment after its answer has been read. A request in that moment opens a new connection, which
//! is then reused as well.

use std::sync::Arc;

use futures_util::future::join_all;
use slipring_objects::{RangeEngine, RangeOptions, Stores};

use super::object::Object;
use super::server::Server;

const OBJECTS: usize = 100;
const OBJECT_BYTES: usize = 10_000;

/// The faulty server, here without faults, with a hundred objects.
async fn start() -> (Server, Vec<Object>) {
    let objects: Vec<_> = (0..OBJECTS)
        .map(|index| Object::new(&index.to_string(), index as u64, OBJECT_BYTES))
        .collect();
    (Server::start(objects.clone()).await, objects)
}

/// Opens the URL again, as a program with a list of URLs does, and downloads its object.
async fn get(engine: &RangeEngine, stores: &Stores, server: &Server, object: &Object) {
    let (store, path) = stores.open(&format!("http://{}/{}", server.address, object.key)).unwrap();
    let got = engine.get(&*store, &path).await.unwrap_or_else(|error| panic!("{error}"));
    object.assert_is(&got.bytes, &object.key);
}

#[tokio::test]
async fn one_connection_serves_objects_got_one_after_the_other() {
    let ((server, objects), stores) = (start().await, Stores::default());
    let engine = RangeEngine::new(&RangeOptions::default()).unwrap();
    for object in &objects {
        get(&engine, &stores, &server, object).await;
    }
    assert_eq!((server.take_seen().len(), server.connections()), (OBJECTS, 1));
    assert_eq!(stores.clients(), 1);
}

#[tokio::test]
async fn objects_got_side_by_side_share_as_many_connections_as_requests_may_be_in_flight() {
    const CONCURRENCY: usize = 4;
    const PART_BYTES: usize = 4096;
    let ((server, objects), stores) = (start().await, Stores::default());
    let engine = RangeEngine::new(&RangeOptions {
        part_bytes: Some(PART_BYTES as u64),
        concurrency: Some(CONCURRENCY),
        ..RangeOptions::default()
    })
    .unwrap();
    join_all(objects.iter().map(|object| get(&engine, &stores, &server, object))).await;
    assert_eq!(server.take_seen().len(), OBJECTS * OBJECT_BYTES.div_ceil(PART_BYTES));
    assert!(
        (1..=CONCURRENCY).contains(&server.connections()),
        "{} connections",
        server.connections()
    );
    assert_eq!(stores.clients(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connections_are_kept_on_several_threads_too() {
    let ((server, objects), stores) = (start().await, Stores::default());
    let engine =
        RangeEngine::new(&RangeOptions { concurrency: Some(4), ..RangeOptions::default() })
            .unwrap();
    for object in &objects {
        get(&engine, &stores, &server, object).await;
    }
    join_all(objects.iter().map(|object| get(&engine, &stores, &server, object))).await;
    assert_eq!(server.take_seen().len(), 2 * OBJECTS);
    assert!(server.connections() < OBJECTS / 4, "{} connections", server.connections());
}

#[tokio::test]
async fn a_bucket_has_one_client_however_often_it_is_opened() {
    let stores = Stores::new(
        [("aws_skip_signature", "true")].map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    let (first, _) = stores.open("s3://bucket/a").unwrap();
    let (second, path) = stores.open("s3://bucket/folder/b").unwrap();
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!((path.as_ref(), stores.clients()), ("folder/b", 1));
    stores.open("s3://other/a").unwrap();
    assert_eq!(stores.clients(), 2);
}
