//! Answers that say *stored*, watermarks, and a disk that is full.
//!
//! The disk that takes nothing is a small tmpfs, filled up; where none can be mounted, these tests
//! say so and test nothing.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use slipring_ingest::io::Counter;
use slipring_ingest::server::Server;
use slipring_ingest::wire::frames::{AckLevel, Hello, Mode, Status};
use slipring_test_support::{wait_until, within};

use crate::MODES;
use crate::order::{Fate, mixed};
use crate::support::client::{Address, Answer, Client};
use crate::support::data::{self, SmallDisk, on_small_disk};
use crate::support::service::{Service, try_start};
use crate::support::{score, vector};

const DIM: u32 = 4;
/// Long enough for an answer that needs no disk.
const WHILE: Duration = Duration::from_millis(300);

/// A connection whose answers mean stored: it says so in its hello, or the service was started with
/// `--ack stored`.
fn stored(address: &Address, mode: Mode) -> Client {
    if mode != Mode::Header {
        return Client::new(address, mode, DIM);
    }
    let mut client = Client::silent(address, mode, DIM);
    let greeted = client.greet(&Hello { ack: AckLevel::Stored, ..Hello::new(DIM) }).unwrap();
    assert_eq!((greeted.status, greeted.ack), (Status::Ok, AckLevel::Stored));
    client
}

/// Sends a request for each id in one write, so that the service takes them in one piece.
fn send_all(client: &mut Client, ids: RangeInclusive<u32>) {
    let request = |id: u32| client.request(id.into(), &vector(4, id));
    let bytes: Vec<u8> = ids.flat_map(request).collect();
    client.send_bytes(&bytes);
}

fn durable(server: &Server) -> u64 {
    server.logs()[0].durable_through()
}

/// Rows of the log that nobody waits for become durable late; those that somebody waits for, and
/// with them all others, before the answer.
#[test]
fn stored_means_that_the_disk_has_it() {
    within(Duration::from_secs(60), || {
        for mode in MODES {
            let mut service = Service::start(DIM, "--commit-interval 10m --ack stored");
            let mut early = service.header();
            early.send(1, &vector(4, 1));
            let answer = early.answer();
            assert_eq!(answer.place.map(|place| place.stored_through), Some(0));
            sleep(WHILE);
            assert_eq!((durable(service.server()), early.watermarks.len()), (0, 0), "{mode:?}");
            let mut client = stored(&service.unix(), mode);
            for id in 2..20u32 {
                client.send(id.into(), &vector(4, id));
                let answer = client.answer();
                assert!(durable(service.server()) >= u64::from(id), "{mode:?}");
                assert_eq!(answer.scores, [score(4, id)]);
                if let Some(place) = answer.place {
                    let said = (place.first_row, place.stored_through);
                    assert_eq!(said, (u64::from(id) - 1, id.into()));
                }
            }
            drop((client, early));
            service.stop();
            assert_eq!(data::ids(&service.data(), 4), (1..20).collect::<Vec<_>>());
        }
    });
}

/// One lane and two, one connection and many, with 64 requests under way: each gets its answers in
/// order, and each of them is on the disk.
#[test]
fn pipelines_are_stored_in_order() {
    within(Duration::from_secs(120), || {
        for (words, conns) in [("", 1), ("--lanes 2", 12), ("--stages threads --wait backoff", 6)] {
            let mut service = Service::start(DIM, &format!("--commit-interval 10m {words}"));
            let (tcp, unix) = (service.tcp(), service.unix());
            let logs = service.server().logs().to_vec();
            let threads: Vec<_> = (0..conns)
                .map(|number| {
                    let address = if number % 2 == 0 { tcp.clone() } else { unix.clone() };
                    let logs = logs.clone();
                    std::thread::spawn(move || {
                        let mut client = stored(&address, Mode::Header);
                        for round in 0..10u32 {
                            let ids = 1 + round * 64..1 + (round + 1) * 64;
                            let bytes: Vec<u8> = ids
                                .clone()
                                .flat_map(|id| client.request(id.into(), &vector(4, id)))
                                .collect();
                            client.send_bytes(&bytes);
                            for id in ids {
                                let answer = client.answer();
                                assert_eq!(answer.scores, [score(4, id)]);
                                let place = answer.place.unwrap();
                                let durable = logs[usize::from(place.lane)].durable_through();
                                assert!(place.first_row < durable);
                                assert_eq!(place.stored_through, u64::from(id));
                            }
                        }
                    })
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            let totals = service.stop();
            assert_eq!(totals.vectors_in_segments, conns * 640, "{totals}");
            assert_eq!(totals.counts[Counter::VectorsAnswered], conns * 640);
        }
    });
}

/// A service whose data folder is on a small disk.
struct Cramped<'a> {
    server: Option<Server>,
    folder: tempfile::TempDir,
    disk: &'a SmallDisk,
}

impl<'a> Cramped<'a> {
    /// Starts it, and fills the disk up.
    fn start(disk: &'a SmallDisk, words: &str) -> Self {
        let folder = crate::support::folder();
        let words = format!("--data {}/data {words}", disk.path().display());
        let server = try_start(folder.path(), DIM, &words).unwrap();
        disk.leave(100 << 10);
        Self { server: Some(server), folder, disk }
    }

    fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    fn address(&self) -> Address {
        Address::Unix(self.folder.path().join("socket"))
    }

    fn data(&self) -> PathBuf {
        self.disk.path().join("data")
    }

    /// Waits until the service knows that the disk is full: somebody has sent something.
    fn wait_full(&self) {
        wait_until("the disk is full", || self.server().logs()[0].state().label() == "no-space");
        // The IO thread looks in each round.
        sleep(Duration::from_millis(50));
    }

    fn answers(&self, status: Status) -> u64 {
        let watch = self.server().watches().next().unwrap();
        watch.counters.counts().answers(status)
    }

    /// Stops it, and leaves the disk empty. Returns the ids in the segments.
    fn stop(mut self) -> Vec<u32> {
        let totals = self.server.take().unwrap().stop();
        assert!(totals.is_drained(), "{totals}");
        let ids = data::ids(&self.data(), 4);
        std::fs::remove_dir_all(self.data()).unwrap();
        ids
    }
}

/// Answers to `fates`, in order.
fn check_fates(client: &mut Client, fates: &[Fate]) -> Vec<u32> {
    let (mut accepted, mut through) = (Vec::new(), 0);
    for (id, fate) in (0u32..).zip(fates) {
        let answer = client.answer();
        if client.mode != Mode::Count {
            assert_eq!(answer.sequence, u64::from(id));
        }
        match *fate {
            Fate::Accepted(vectors) => {
                assert_eq!(answer.scores, vec![score(4, id); vectors as usize], "request {id}");
                accepted.extend(vec![id; vectors as usize]);
                through = u64::from(id);
            }
            Fate::Refused(status) => {
                let expected = (client.mode != Mode::Count).then_some(status);
                assert_eq!((answer.status, answer.scores.len()), (expected, 0), "request {id}");
            }
        }
        if let Some(place) = answer.place {
            assert_eq!(place.stored_through, through, "request {id}");
        }
    }
    accepted
}

/// While the disk takes nothing, no stored answer leaves, nor what comes behind one. Then all come,
/// in order; and with a half-close the end comes behind them.
#[test]
fn what_the_disk_hasnt_is_not_answered() {
    on_small_disk(4, |disk| {
        for (mode, ends) in MODES.into_iter().flat_map(|mode| [(mode, false), (mode, true)]) {
            let service = Cramped::start(disk, "--ack stored --max-vectors 16");
            let mut client = stored(&service.address(), mode);
            let mut draw = slipring_test_support::Draw::new(7);
            let first = client.request(0, &vector(4, 0));
            let (mut bytes, mut fates) = mixed(&client, &mut draw, 63);
            // The first one is accepted, so that everything waits for it.
            let replaced = mixed(&client, &mut slipring_test_support::Draw::new(7), 1).0.len();
            bytes.splice(..replaced, first);
            fates[0] = Fate::Accepted(1);
            client.send_bytes(&bytes);
            if ends {
                client.end_sending();
            }
            service.wait_full();
            sleep(WHILE);
            assert_eq!(client.take_answers(), [], "{mode:?}");
            disk.free();
            let accepted = check_fates(&mut client, &fates);
            if ends {
                client.expect_end();
            }
            drop(client);
            assert_eq!(service.stop(), accepted);
        }
    });
}

/// Requests whose answers are held count as in flight, and their bytes count once.
#[test]
fn held_answers_count_as_in_flight() {
    on_small_disk(4, |disk| {
        let service = Cramped::start(disk, "--in-flight 4 --max-vectors 1");
        let mut client = stored(&service.address(), Mode::Header);
        send_all(&mut client, 1..=4);
        service.wait_full();
        disk.free();
        (1..=4u64).for_each(|id| assert_eq!(client.answer().credits, id as u16));
        disk.leave(100 << 10);
        send_all(&mut client, 5..=8);
        service.wait_full();
        // All of them are answered, and none of the answers is sent. A refusal waits behind them.
        client.send(9, &vector(4, 9));
        wait_until("it is refused", || service.answers(Status::Busy) == 1);
        sleep(WHILE);
        assert_eq!(client.take_answers(), []);
        disk.free();
        let said = |client: &mut Client| {
            let Answer { status, sequence, .. } = client.answer();
            (sequence, status.unwrap())
        };
        for id in 5..=8 {
            assert_eq!(said(&mut client), (id, Status::Ok));
        }
        assert_eq!(said(&mut client), (9, Status::Busy));
        client.send(10, &vector(4, 10));
        assert_eq!(said(&mut client), (10, Status::Ok));
        drop(client);
        assert_eq!(service.stop(), [1, 2, 3, 4, 5, 6, 7, 8, 10]);
    });
}

/// A deep pipeline with a small cap is accepted as far as the cap allows while the answers wait for
/// a sync, in every mode.
#[test]
fn caps_hold_while_answers_wait() {
    within(Duration::from_secs(60), || {
        for mode in MODES {
            for cap in [1, 3] {
                let words = format!("--in-flight {cap} --max-vectors 1 --ack stored");
                let mut service = Service::start(DIM, &words);
                let mut client = stored(&service.tcp(), mode);
                let bytes: Vec<u8> =
                    (0..200).flat_map(|id| client.request(id.into(), &vector(4, id))).collect();
                client.send_bytes(&bytes);
                let (mut ok, mut busy) = (Vec::new(), 0);
                for id in 0..200 {
                    let answer = client.answer();
                    if answer.is_ok() {
                        assert_eq!(answer.scores, [score(4, id)]);
                        ok.push(id);
                    } else {
                        assert_eq!(answer.status, Some(Status::Busy));
                        busy += 1;
                    }
                }
                assert_eq!(mode == Mode::Count, busy == 0, "{mode:?}, {cap}: {busy} busy");
                drop(client);
                service.stop();
                assert_eq!(data::ids(&service.data(), 4), ok);
            }
        }
    });
}

/// A full disk: header modes are told, also those that want no more than received; count mode
/// waits, and its clients aren't blamed for it. With space everything goes on, without a restart.
#[test]
fn a_full_disk_is_said_and_then_goes_on() {
    on_small_disk(4, |disk| {
        let words = "--idle-timeout 1s --header-timeout 1s --unread-timeout 1s";
        let service = Cramped::start(disk, words);
        let mut held = stored(&service.address(), Mode::Header);
        held.send(1, &vector(4, 1));
        service.wait_full();
        let mut count = Client::count(&service.address(), DIM);
        let half = count.request(0, &vector(4, 2));
        count.send_bytes(&half[..7]);
        for mode in [Mode::Header, Mode::Header1] {
            let mut client = Client::new(&service.address(), mode, DIM);
            for id in 5..9 {
                client.send(id, &vector(4, 5));
                let answer = client.answer();
                assert_eq!((answer.status, answer.sequence), (Some(Status::NoSpace), id));
            }
        }
        count.send_bytes(&half[7..]);
        // More often than the limits are.
        sleep(Duration::from_millis(2500));
        assert_eq!((held.take_answers(), count.take_answers()), (vec![], vec![]));
        // A little space isn't enough: the disk would be full again at once.
        disk.leave(150 << 10);
        sleep(WHILE);
        let mut client = Client::header(&service.address(), DIM);
        client.send(6, &vector(4, 6));
        assert_eq!(client.answer().status, Some(Status::NoSpace));
        disk.free();
        assert_eq!(held.answer().scores, [score(4, 1)]);
        assert_eq!(count.answer().scores, [score(4, 2)]);
        wait_until("the disk has space again", || {
            client.send(7, &vector(4, 7));
            client.answer().is_ok()
        });
        drop((held, count, client));
        assert_eq!(service.stop(), [1, 2, 7]);
    });
}

/// A client that goes leaves its answers to nobody.
#[test]
fn held_answers_of_a_client_that_is_gone_reach_nobody() {
    on_small_disk(4, |disk| {
        let service = Cramped::start(disk, "--max-vectors 1 --max-connections 1");
        let mut gone = stored(&service.address(), Mode::Header);
        send_all(&mut gone, 1..=9);
        service.wait_full();
        let watch = service.server().watches().next().unwrap().counters.clone();
        gone.end();
        disk.free();
        wait_until("it is gone", || {
            watch.counts()[Counter::Ended] + watch.counts()[Counter::Broken] == 1
        });
        // The same place in the table.
        let mut next = stored(&service.address(), Mode::Header);
        next.send(77, &vector(4, 10));
        let answer = next.answer();
        assert_eq!((answer.sequence, answer.scores), (77, vec![score(4, 10)]));
        drop(next);
        assert_eq!(service.stop(), (1..=10).collect::<Vec<_>>());
    });
}

/// A stop waits for the disk. If there is space in time, held answers come; if not, they say that
/// the vectors aren't stored.
#[test]
fn a_stop_answers_what_is_held() {
    on_small_disk(4, |disk| {
        for (mode, is_freed) in MODES.into_iter().flat_map(|mode| [(mode, true), (mode, false)]) {
            let mut service = Cramped::start(disk, "--ack stored --drain 3s");
            let mut client = stored(&service.address(), mode);
            send_all(&mut client, 1..=9);
            service.wait_full();
            let server = service.server.take().unwrap();
            let stops = std::thread::spawn(move || server.stop());
            sleep(WHILE);
            assert_eq!(client.take_answers(), [], "{mode:?}");
            if is_freed {
                disk.free();
            }
            for id in 1..=9 {
                let answer = client.answer();
                if is_freed {
                    assert_eq!(answer.scores, [score(4, id)], "{mode:?}");
                } else if mode == Mode::Count {
                    assert!(answer.scores.is_empty());
                } else {
                    let said = (answer.sequence, answer.status);
                    assert_eq!(said, (id.into(), Some(Status::Failed)));
                }
            }
            client.expect_end();
            let totals = stops.join().unwrap();
            assert_eq!(totals.is_drained(), is_freed, "{totals}");
            let (ok, failed) = if is_freed { (9, 0) } else { (0, 9) };
            let counts = &totals.counts;
            assert_eq!(counts.answers(Status::Failed), failed);
            assert_eq!(counts[Counter::VectorsAnswered], ok);
            assert_eq!(counts[Counter::GivenUp], 0);
            if !is_freed {
                disk.free();
            }
            assert_eq!(data::ids(&service.data(), 4).len() as u64, ok);
            std::fs::remove_dir_all(service.data()).unwrap();
        }
    });
}

/// A connection that wants no more than received hears in its answers what is stored, and once more
/// when it is idle.
#[test]
fn an_idle_connection_hears_what_is_stored() {
    within(Duration::from_secs(60), || {
        let mut service = Service::start(DIM, "--commit-interval 20ms");
        let mut client = service.header();
        let mut through = 0;
        for id in 1..=60u32 {
            client.send(id.into(), &vector(4, id));
            let place = client.answer().place.unwrap();
            assert!(through <= place.stored_through && place.stored_through < u64::from(id));
            through = place.stored_through;
            if id % 20 == 0 {
                sleep(Duration::from_millis(100));
            } else {
                sleep(Duration::from_millis(2));
            }
        }
        assert!(through >= 40, "what was stored in the pauses is known: {through}");
        wait_until("a watermark", || {
            let _none = client.take_answers();
            client.watermarks.last().is_some_and(|last| last.stored_through == 60)
        });
        let said: Vec<u64> = client.watermarks.iter().map(|mark| mark.stored_through).collect();
        sleep(WHILE);
        assert_eq!(client.take_answers(), []);
        assert_eq!(client.watermarks.len(), said.len(), "it is said once");
        assert!(said.is_sorted_by(|one, next| one < next), "{said:?}");
        assert!(client.watermarks.iter().all(|mark| (mark.lane, mark.credits) == (0, 256)));
        // A refusal says it too.
        client.send(61, &[f32::NAN; 4]);
        let place = client.answer().place.unwrap();
        assert_eq!(place.stored_through, 60);
        drop(client);
        // With a null sink nothing is ever stored.
        let mut null = Service::start(DIM, "--sink null");
        let mut client = null.header();
        client.send(1, &vector(4, 1));
        assert_eq!(client.answer().place.unwrap().stored_through, 0);
        sleep(WHILE);
        assert_eq!((client.take_answers(), client.watermarks.len()), (vec![], 0));
        drop(client);
        null.stop();
        service.stop();
    });
}

#[test]
fn without_a_log_nothing_is_stored() {
    within(Duration::from_secs(60), || {
        let folder = crate::support::folder();
        let refused = try_start(folder.path(), DIM, "--sink null --ack stored").unwrap_err();
        assert_eq!(refused.exit_code(), 2);
        assert!(refused.to_string().contains("--ack stored with --sink null"), "{refused}");
        let mut service = Service::start(DIM, "--sink null");
        let mut client = Client::silent(&service.tcp(), Mode::Header, DIM);
        let asked = Hello { ack: AckLevel::Stored, ..Hello::new(DIM) };
        let greeted = client.greet(&asked).unwrap();
        assert_eq!((greeted.status, greeted.ack), (Status::NoSuchAck, AckLevel::Received));
        client.expect_end();
        service.stop();
    });
}
