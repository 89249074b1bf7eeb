//! One suite for every store. Crate object_store puts an object; the range engine returns it byte
//! for byte, or an error that says why not.
//!
//! Each test runs in memory, in a local folder, and in the bucket that `SLIPRING_OBJECT_STORE`
//! names (`s3://bucket`). `scripts/objects` starts servers and sets the variable to a bucket of
//! each in turn, with endpoint and credentials under object_store's own keys. If the server is
//! missing, every test fails.

mod real_servers {
    mod keys;
    pub mod overwrite;
    pub mod place;
}

use bytes::Bytes;
use futures_util::future::join_all;
use real_servers::overwrite::Overwriting;
use real_servers::place::{POOLED_MOST, Place, assert_all_back, object, places, small_pool};
use slipring_objects::{BufferPoolUse, Cause, Download, DownloadError, RangeEngine, RangeOptions};

const MIB: usize = 1 << 20;
/// Large enough for a part to use the pool, and no multiple of a round number.
const PART: usize = MIB + 4711;

/// Every object longer than a part is downloaded in parts.
fn in_parts_of(part_bytes: usize) -> RangeOptions {
    RangeOptions { part_bytes: Some(part_bytes as u64), ..RangeOptions::default() }
}

fn engine(options: &RangeOptions) -> RangeEngine {
    RangeEngine::new(options).unwrap()
}

impl Place {
    /// Downloads an object, or fails the test.
    async fn get(&self, engine: &RangeEngine, key: &str) -> Download {
        engine
            .get(&*self.store, &self.path(key))
            .await
            .unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// The expected number of requests. A local file is read in one.
    fn ranges(&self, expected: usize) -> usize {
        if self.is_local { expected.min(1) } else { expected }
    }
}

#[tokio::test]
async fn every_size_arrives() {
    for place in places("sizes") {
        let pool = small_pool();
        let engine = engine(&in_parts_of(PART)).with_buffer_pool(pool.clone());
        let sizes = [
            0,
            1,
            MIB - 1,
            MIB,
            PART - 1,
            PART,
            PART + 1,
            2 * PART,
            3 * PART + 5,
            POOLED_MOST,
            POOLED_MOST + 1,
        ];
        for (seed, size) in sizes.into_iter().enumerate() {
            let (key, bytes) = (format!("{size}"), object(seed, size));
            place.put(&key, &bytes).await;
            let Download { bytes: got, meta, stats, .. } = place.get(&engine, &key).await;
            let case = format!("{}, {size} bytes: {stats:?}", place.name);
            assert!(got == bytes, "{case}: other bytes came");
            assert_eq!((meta.size, stats.bytes), (size as u64, size as u64), "{case}");
            assert_eq!(stats.ranges as usize, place.ranges(size.div_ceil(PART)), "{case}");
            let expected = match size {
                ..MIB => BufferPoolUse::Skip,
                MIB..=POOLED_MOST => BufferPoolUse::Hit,
                _ => BufferPoolUse::Fresh,
            };
            assert_eq!(stats.pool, expected, "{case}");
        }
        let stats = engine.stats();
        assert_eq!((stats.objects, stats.failed), (sizes.len() as u64, 0), "{}", place.name);
        assert_eq!(stats.bytes, sizes.iter().sum::<usize>() as u64, "{}", place.name);
        assert_eq!(
            (stats.skipped, stats.hits, stats.fresh, stats.unpooled),
            (3, 7, 1, 0),
            "{}",
            place.name
        );
        assert_all_back(&pool, &place.name);
    }
}

#[tokio::test]
async fn small_parts_and_no_parts_are_the_same_object() {
    for place in places("parts") {
        let bytes = object(0, MIB + 1);
        place.put("one", &bytes).await;
        for (options, ranges) in [
            (in_parts_of(64 << 10), 17),
            (RangeOptions { concurrency: Some(1), ..in_parts_of(100_000) }, 11),
            // The first request has 300,000 bytes, the 15 after it at most 50,000.
            (RangeOptions { threshold_bytes: Some(300_000), ..in_parts_of(50_000) }, 16),
            (RangeOptions { enabled: false, ..in_parts_of(64 << 10) }, 1),
            (RangeOptions::default(), 1),
        ] {
            let got = place.get(&engine(&options), "one").await;
            assert!(got.bytes == bytes, "{}, {options:?}: other bytes came", place.name);
            assert_eq!(
                got.stats.ranges as usize,
                place.ranges(ranges),
                "{}, {options:?}",
                place.name
            );
            assert_eq!(got.stats.pool, BufferPoolUse::Off, "{}, {options:?}", place.name);
        }
    }
}

#[tokio::test]
async fn an_object_that_is_not_there_is_named() {
    for place in places("none") {
        let pool = small_pool();
        for options in
            [in_parts_of(PART), RangeOptions { enabled: false, ..RangeOptions::default() }]
        {
            let engine = engine(&options).with_buffer_pool(pool.clone());
            let path = place.path("not here");
            let error = engine.get(&*place.store, &path).await.unwrap_err();
            assert!(matches!(error.cause, Cause::NotFound(_)), "{}: {error}", place.name);
            assert_eq!((&error.object, error.retries), (&path, 0), "{}: {error}", place.name);
            assert!(error.to_string().contains("not here"), "{}: {error}", place.name);
            assert_eq!(engine.stats().failed, 1, "{}", place.name);
        }
        assert_all_back(&pool, &place.name);
    }
}

#[tokio::test]
async fn any_key_is_found_by_its_url() {
    for place in places("keys") {
        for (seed, key) in ["a b", "ünï/çødé/∆", "100%", "%41", "a+b&c=d", "x.tar.gz", "q?r#s"]
            .into_iter()
            .enumerate()
        {
            let bytes = object(seed, 3000);
            place.put(key, &bytes).await;
            let url = place.url(key);
            let (store, path) =
                place.open(&url).unwrap_or_else(|error| panic!("{}: {error}", place.name));
            assert_eq!(path, place.path(key), "{}: {url}", place.name);
            let got = engine(&in_parts_of(1024)).get(&*store, &path).await;
            let got = got.unwrap_or_else(|error| panic!("{}, {key}: {error}", place.name));
            assert!(got.bytes == bytes, "{}, {key}: other bytes came", place.name);
        }
        assert_eq!(place.stores.clients(), 1, "{}", place.name);
    }
}

#[tokio::test]
async fn an_object_overwritten_between_two_parts_is_no_mixture() {
    for place in places("overwritten") {
        let pool = small_pool();
        let engine = engine(&in_parts_of(512 << 10)).with_buffer_pool(pool.clone());
        for (case, size) in
            [("as long", 2 * MIB), ("longer", 2 * MIB + 1), ("shorter", MIB), ("empty", 0)]
        {
            let (before, after) = (object(1, 2 * MIB), object(2, size));
            place.put(case, &before).await;
            let store = Overwriting::new(&place.store, &after);
            let got = engine.get(&store, &place.path(case)).await;
            assert!(store.is_done(), "{}, {case}: nothing was overwritten", place.name);
            match got {
                // A process that has a local file open goes on reading it after it is replaced.
                Ok(got) => assert!(
                    place.is_local && got.bytes == before,
                    "{}, {case}: a mixture came",
                    place.name
                ),
                Err(DownloadError { cause: Cause::Changed { .. }, .. }) => {}
                Err(error) => panic!("{}, {case}: {error}", place.name),
            }
            assert!(
                place.get(&engine, case).await.bytes == after,
                "{}, {case}: other bytes came",
                place.name
            );
        }
        assert_all_back(&pool, &place.name);
    }
}

#[tokio::test]
async fn thirty_two_objects_come_side_by_side() {
    for place in places("parallel") {
        let pool = small_pool();
        let options = RangeOptions { concurrency: Some(8), ..in_parts_of(512 << 10) };
        let engine = engine(&options).with_buffer_pool(pool.clone());
        let expected: Vec<(String, Bytes)> =
            (0..32).map(|seed| (format!("{seed}"), object(seed, MIB + 999 * seed))).collect();
        join_all(expected.iter().map(|(key, bytes)| place.put(key, bytes))).await;
        let got = join_all(expected.iter().map(|(key, _)| place.get(&engine, key))).await;
        for ((key, bytes), got) in expected.iter().zip(&got) {
            assert!(got.bytes == bytes, "{}, {key}: other bytes came", place.name);
        }
        let stats = engine.stats();
        assert_eq!((stats.objects, stats.failed), (32, 0), "{}", place.name);
        // The first object has two parts; the others are a little longer and have three.
        let ranges = if place.is_local { 32 } else { 2 + 31 * 3 };
        assert_eq!(stats.ranges, ranges, "{}", place.name);
        // All objects are held, and the pool has 16 buffers per class. Further ones are allocated
        // fresh.
        assert_eq!((stats.hits, stats.fresh), (17, 15), "{}", place.name);
        drop(got);
        assert_all_back(&pool, &place.name);
    }
}

#[tokio::test]
async fn a_slice_keeps_the_buffer() {
    for place in places("slice") {
        let pool = small_pool();
        let engine = engine(&in_parts_of(PART)).with_buffer_pool(pool.clone());
        let bytes = object(0, 2 * MIB);
        place.put("one", &bytes).await;
        let got = place.get(&engine, "one").await;
        let slice = got.bytes.slice(PART - 2..PART + 2);
        let clone = slice.clone();
        drop((got, slice));
        assert_eq!(pool.stats().classes[1].in_use, 1, "{}", place.name);
        assert_eq!(clone, bytes[PART - 2..PART + 2], "{}", place.name);
        std::thread::spawn(move || drop(clone)).join().unwrap();
        assert_all_back(&pool, &place.name);
        // The same memory serves the next object.
        drop(place.get(&engine, "one").await);
        assert_eq!(pool.stats().classes[1].hits, 1, "{}", place.name);
    }
}
