//! The server, asked by object_store's S3 client.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{Error, GetOptions, ObjectStore, ObjectStoreExt};

use super::accept;
use crate::objects::corpus::{BUCKET, Corpus, Folder, key};

/// A server of objects of `OBJECT_BYTES`. The folder is removed with the value. The thread ends
/// with the test's process.
struct Served {
    folder: Folder,
    address: std::net::SocketAddr,
    corpus: Corpus,
}

const OBJECT_BYTES: usize = 300_000;

impl Served {
    fn new() -> Self {
        let (folder, corpus) = (Folder::new().unwrap(), Corpus::new(OBJECT_BYTES));
        folder.fill(&corpus).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (address, path) = (listener.local_addr().unwrap(), folder.path().to_owned());
        thread::spawn(move || accept(&listener, &path));
        Self { folder, address, corpus }
    }

    fn store(&self) -> impl ObjectStore {
        let builder = AmazonS3Builder::new()
            .with_endpoint(format!("http://{}", self.address))
            .with_region("any");
        builder
            .with_bucket_name(BUCKET)
            .with_allow_http(true)
            .with_skip_signature(true)
            .build()
            .unwrap()
    }

    /// The answer to a request that no client would send.
    fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn objects_and_their_parts_are_the_files() {
    let served = Served::new();
    let (store, path, whole) = (served.store(), Path::from(key(1)), served.corpus.object(1));
    wait(async {
        let meta = store.head(&path).await.unwrap();
        assert_eq!(meta.size, OBJECT_BYTES as u64);
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), whole);
        for range in [0..1, 5..70_000, 299_999..300_000] {
            let part = store.get_range(&path, range.clone()).await.unwrap();
            assert_eq!(part, whole.slice(range.start as usize..range.end as usize));
        }
        let matching = GetOptions::new().with_if_match(meta.e_tag).with_range(Some(7..9));
        assert_eq!(
            store.get_opts(&path, matching).await.unwrap().bytes().await.unwrap(),
            whole.slice(7..9)
        );
        let other = GetOptions::new().with_if_match(Some("\"another\"".to_owned()));
        assert!(matches!(store.get_opts(&path, other).await, Err(Error::Precondition { .. })));
        assert!(store.get_range(&path, 300_000..300_001).await.is_err());
        assert!(matches!(store.get(&Path::from("none")).await, Err(Error::NotFound { .. })));
    });
}

#[test]
fn what_isnt_served_is_refused() {
    let served = Served::new();
    let outside = served.folder.path().parent().unwrap().join("outside");
    for path in
        ["/slipring/../outside", "/%2e%2e/outside", "//object-0", "/slipring", "/", "object-0"]
    {
        let answer = served.raw(&format!("GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}, {}: {answer}", outside.display());
    }
    assert!(
        served
            .raw("PUT /slipring/new HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc")
            .starts_with("HTTP/1.1 405 ")
    );
    let past_the_end =
        "GET /slipring/object-0 HTTP/1.1\r\nRange: bytes=300000-\r\nConnection: close\r\n\r\n";
    assert!(served.raw(past_the_end).contains("content-range: bytes */300000\r\n"));
}
