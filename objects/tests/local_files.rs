//! Local files: at most as many are open as there are turns, however many are downloaded. A
//! download that waits for a buffer has no file open.

use std::fs;
use std::future::Future;
use std::path::Path;
use std::pin::pin;

use futures_util::future::{join_all, poll_fn};
use slipring::class::AtLimit;
use slipring_objects::{BufferPoolOptions, RangeEngine, RangeOptions, Stores};

const FILES: usize = 40;
const FILE_BYTES: usize = (1 << 20) + 17;
const TURNS: usize = 2;

/// Files of this folder that this process has open.
fn open_files(folder: &Path) -> usize {
    let open = fs::read_dir("/proc/self/fd")
        .unwrap()
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok());
    open.filter(|file| file.starts_with(folder)).count()
}

/// Downloads all files concurrently and drops each when it is complete. Returns the largest number
/// of files that were open at a time.
async fn most_open(buffers: usize) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    let urls: Vec<String> =
        (0..FILES).map(|index| path.join(index.to_string()).display().to_string()).collect();
    urls.iter()
        .enumerate()
        .for_each(|(index, url)| fs::write(url, vec![index as u8; FILE_BYTES]).unwrap());
    let pool = BufferPoolOptions {
        max_buffers_per_class: buffers,
        at_limit: AtLimit::Wait,
        ..BufferPoolOptions::default()
    };
    let options = RangeOptions { concurrency: Some(TURNS), ..RangeOptions::default() };
    let engine =
        RangeEngine::new(&options).unwrap().with_buffer_pool(pool.build().unwrap().unwrap());
    let stores = Stores::default();
    let get = |(index, url): (usize, &String)| {
        let (engine, (store, path)) = (&engine, stores.open(url).unwrap());
        async move {
            let got = engine.get(&*store, &path).await.unwrap();
            assert!(
                got.bytes.len() == FILE_BYTES && got.bytes.iter().all(|byte| *byte == index as u8),
                "{path}"
            );
        }
    };
    let (mut all, mut most) = (pin!(join_all(urls.iter().enumerate().map(get))), 0);
    poll_fn(|context| {
        let ended = all.as_mut().poll(context);
        most = most.max(open_files(&path));
        ended.map(drop)
    })
    .await;
    assert_eq!(engine.stats().hits, FILES as u64);
    assert_eq!(open_files(&path), 0);
    let _open = fs::File::open(path.join("0")).unwrap();
    assert_eq!(open_files(&path), 1, "this counts them");
    most
}

#[tokio::test]
async fn files_are_open_for_as_long_as_they_are_read() {
    for buffers in [FILES, 1] {
        let most = most_open(buffers).await;
        assert!(most <= TURNS, "{most} files were open, with {buffers} buffers and {TURNS} turns");
    }
}

#[tokio::test]
async fn what_is_no_file_is_refused_before_it_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let _listens = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for path in [folder.path(), &socket, Path::new("/dev/zero")] {
        for url in [path.display().to_string(), format!("file://{}", path.display())] {
            let refused = Stores::default().open(&url).unwrap_err().to_string();
            assert!(
                refused.starts_with(&url) && refused.contains("isn't a regular file"),
                "{refused}"
            );
        }
    }
    // A missing file is an error of the download, not of opening the store, as with other stores.
    Stores::default().open(folder.path().join("none").to_str().unwrap()).unwrap();
}

/// Crate object_store makes URLs of paths, in which some parts would be drives of Windows.
#[tokio::test]
async fn a_file_may_have_the_name_of_a_drive() {
    let folder = tempfile::tempdir().unwrap();
    let stores = Stores::default();
    for name in ["a:", "b|", "C:/x", "d|/x", "e:f", "g|h:", ":", "|"] {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, name).unwrap();
        let url = file.display().to_string();
        for url in [url.clone(), format!("file://{url}")] {
            let got = stores.download(&url).await;
            let object = got.unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!(&object.bytes[..], name.as_bytes(), "{url}");
        }
    }
}
