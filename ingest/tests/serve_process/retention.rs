//! `--retain-bytes` and `--retain-for`: the oldest segments go, and sequences go on.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use slipring_ingest::sink::read_segments;
use slipring_test_support::{wait_until, within};

use crate::support::admin::samples;
use crate::support::client::Client;
use crate::support::data::on_small_disk;
use crate::support::process::{BINARY, Place, Process, serve, words};
use crate::support::{data, vector};

const REMOVED: &str = "slipring_log_removed_segments_total";

fn send(client: &mut Client, ids: std::ops::Range<u32>) {
    for id in ids {
        client.send(0, &vector(4, id));
        assert!(client.answer().is_ok());
    }
}

/// Bytes of all sealed segments.
fn bytes(data: &Path, lanes: u32) -> u64 {
    let files = (0..lanes).flat_map(|lane| data::files(data, lane));
    files.map(|(_, bytes)| bytes.len() as u64).sum()
}

/// A folder from which old segments were removed has no error.
fn verify(data: &Path, vectors: usize) {
    let mut command = Command::new(BINARY);
    let output = command.args(["log", "verify", "--json", "--data"]).arg(data).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let last: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!((&last["errors"], &last["vectors"]), (&0.into(), &vectors.into()), "{said}");
    assert_eq!(output.status.code(), Some(0), "{said}");
}

/// Many small segments: the folder stays within its limit, what is left is the newest, and the next
/// start goes on behind it.
#[test]
fn the_oldest_segments_go_when_there_are_too_many_bytes() {
    within(Duration::from_secs(90), || {
        let place = Place::new();
        let words = "--segment-bytes 16KiB --retain-bytes 64KiB --commit-interval 1ms --metrics 0";
        let words = place.words(&format!("{words} --report-every 100ms"));
        let mut process = Process::start(serve(&words));
        let mut client = Client::count(&process.tcp(), 4);
        let mut sent = 0;
        while samples(&process)[REMOVED] < 20.0 {
            send(&mut client, sent..sent + 20);
            sent += 20;
        }
        std::thread::sleep(Duration::from_millis(300));
        drop(client);
        let ended = process.stop();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.total("removed_segments") >= 20, "{ended:?}");
        assert_eq!(ended.total("vectors_in_segments"), u64::from(sent), "{ended:?}");
        assert!(ended.stderr.contains(" old segments removed, "), "{ended:?}");
        let ids = data::ids(&place.data(), 4);
        assert!(ids.len() >= 4 && ids == (sent - ids.len() as u32..sent).collect::<Vec<_>>());
        // The last seal came with the stop: the next start removes what is too much.
        let mut process = Process::start(serve(&words));
        wait_until("old segments go", || bytes(&place.data(), 1) <= 64 << 10);
        let mut client = Client::count(&process.tcp(), 4);
        send(&mut client, sent..sent + 1);
        drop(client);
        let ended = process.stop();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let ids = data::ids(&place.data(), 4);
        assert_eq!(ids, (sent + 1 - ids.len() as u32..sent + 1).collect::<Vec<_>>());
        verify(&place.data(), ids.len());
        let newest = place.data().join(format!("lane=0/seg-{sent:020}.arrow"));
        assert!(newest.exists(), "{:?}", data::files(&place.data(), 0).keys());
    });
}

/// Several times as much as the disk holds goes through a folder that is kept within it.
#[test]
fn a_folder_within_its_limit_does_not_fill_its_disk() {
    const DIM: usize = 1024;
    on_small_disk(8, |disk| {
        let more = "--dim 1024 --pool 4MiB --segment-bytes 512KiB --retain-bytes 2MiB --metrics 0";
        let mut process = Process::start(serve(&words(disk.path(), more)));
        let mut client = Client::count(&process.tcp(), DIM as u32);
        for request in 0..400_u32 {
            let vectors: Vec<f32> = (0..16).flat_map(|id| vector(DIM, request * 16 + id)).collect();
            client.send(0, &vectors);
            assert!(client.answer().is_ok());
        }
        drop(client);
        let ended = process.stop();
        assert!(ended.total("removed_segments") > 15, "{ended:?}");
        let totals = (ended.code, ended.total("vectors_in_segments"));
        assert_eq!(totals, (Some(0), 6400), "{ended:?}");
        assert!(!ended.stderr.contains("can't take vectors"), "{ended:?}");
        let ids = data::ids(&disk.path().join("data"), DIM);
        assert_eq!(ids, (6400 - ids.len() as u32..6400).collect::<Vec<_>>());
    });
}

/// Everything is too old, also in a service without clients and in lanes that aren't served any
/// more. The next sequences aren't those of vectors that are gone.
#[test]
fn sequences_go_on_when_every_segment_was_too_old() {
    within(Duration::from_secs(90), || {
        let place = Place::new();
        let mut process = Process::start(serve(&place.words("--lanes 2")));
        let mut clients: Vec<Client> = (0..2).map(|_| Client::count(&process.tcp(), 4)).collect();
        clients.iter_mut().for_each(|client| send(client, 0..10));
        drop(clients);
        assert_eq!(process.stop().code, Some(0));
        // Clients may share a lane.
        let given = read_segments(&place.data()).unwrap().lanes;
        assert!(bytes(&place.data(), 2) > 0);
        let mut process = Process::start(serve(&place.words("--retain-for 1s --metrics 0")));
        wait_until("old segments go", || bytes(&place.data(), 2) == 0);
        assert!(samples(&process)[REMOVED] >= 1.0);
        assert_eq!(process.stop().code, Some(0));
        let words = "--retain-for 1s --segment-age 50ms --lanes 2";
        let mut process = Process::start(serve(&place.words(words)));
        let mut clients: Vec<Client> = (0..2).map(|_| Client::count(&process.tcp(), 4)).collect();
        clients.iter_mut().for_each(|client| send(client, 0..10));
        wait_until("segments are sealed", || bytes(&place.data(), 2) > 0);
        for lane in 0..2 {
            for path in data::files(&place.data(), lane).into_keys() {
                let first: u64 = path.file_stem().unwrap().to_str().unwrap()[4..].parse().unwrap();
                assert!(first >= given[&lane], "{}: {given:?}", path.display());
            }
        }
        wait_until("they go too", || bytes(&place.data(), 2) == 0);
        drop(clients);
        let ended = process.stop();
        assert_eq!((ended.code, ended.total("vectors_in_segments")), (Some(0), 20), "{ended:?}");
        verify(&place.data(), 0);
    });
}
