//! The example `ingest_service`, driven as clients of an embedder would: real vectors over a real
//! socket, a stage that fails, a ring that fills up.

#[path = "../examples/ingest_service.rs"]
mod ingest_service;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ingest_service::{DIM, serve};
use slipring::pipeline::CloseReport;

/// 1,797 handwritten digits, as the file's header says: 128 bytes, then rows of `f32`.
const DIGITS: &[u8] = include_bytes!("../examples/data/digits-64.npy");

fn digits() -> Vec<[f32; DIM]> {
    let (values, rest) = DIGITS[128..].as_chunks::<4>();
    assert!(rest.is_empty() && values.len() == 1797 * DIM);
    let values: Vec<f32> = values.iter().map(|value| f32::from_le_bytes(*value)).collect();
    values.as_chunks::<DIM>().0.to_vec()
}

fn bytes(vectors: &[[f32; DIM]]) -> Vec<u8> {
    vectors.iter().flatten().flat_map(|component| component.to_le_bytes()).collect()
}

/// The service on a thread of its own.
struct Service {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    stored: Arc<Mutex<Vec<Vec<f32>>>>,
    thread: JoinHandle<Result<CloseReport, String>>,
}

impl Service {
    /// Starts it. `store` gets the number of each vector before the vector is stored.
    fn start(mut store: impl FnMut(usize) -> Result<(), String> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let stored = Arc::new(Mutex::new(Vec::new()));
        let (is_over, kept) = (Arc::clone(&stop), Arc::clone(&stored));
        let store = move |vector: &[f32]| {
            let mut kept = kept.lock().unwrap();
            let number = kept.len();
            store(number)?;
            kept.push(vector.to_vec());
            Ok(())
        };
        let thread = thread::spawn(move || {
            serve(&listener, &is_over, store).map_err(|error| error.to_string())
        });
        Self { address, stop, stored, thread }
    }

    fn stop(self) -> (Result<CloseReport, String>, Vec<Vec<f32>>) {
        self.stop.store(true, Ordering::Release);
        let ended = self.thread.join().unwrap();
        (ended, std::mem::take(&mut self.stored.lock().unwrap()))
    }
}

fn answers(client: &mut TcpStream, count: usize) -> Vec<f32> {
    let mut bytes = vec![0; 4 * count];
    client.read_exact(&mut bytes).unwrap();
    bytes.as_chunks::<4>().0.iter().map(|answer| f32::from_le_bytes(*answer)).collect()
}

#[test]
fn real_vectors_are_answered_and_stored_in_order() {
    let service = Service::start(|_| Ok(()));
    let mut digits = digits();
    digits[7][3] = f32::NAN;
    let mut client = TcpStream::connect(service.address).unwrap();
    let mut sender = client.try_clone().unwrap();
    let wire = bytes(&digits);
    // In pieces that aren't frames.
    let sending =
        thread::spawn(move || wire.chunks(1000).for_each(|piece| sender.write_all(piece).unwrap()));
    let answered = answers(&mut client, digits.len());
    sending.join().unwrap();
    for (number, (answer, digit)) in answered.iter().zip(&digits).enumerate() {
        assert!(
            if number == 7 { answer.is_nan() } else { *answer == digit.iter().sum::<f32>() },
            "{number}: {answer}"
        );
    }
    // A client that disconnects in the middle of a frame is no error, and the next one is served.
    client.write_all(&[0; 10]).unwrap();
    drop(client);
    let mut client = TcpStream::connect(service.address).unwrap();
    client.write_all(&bytes(&digits[..1])).unwrap();
    assert_eq!(answers(&mut client, 1), [digits[0].iter().sum::<f32>()]);
    let (ended, stored) = service.stop();
    let report = ended.unwrap();
    assert!(report.is_drained() && report.consumed == 1798 && report.rejected() == 1, "{report:?}");
    let good = digits
        .iter()
        .enumerate()
        .filter(|(number, _)| *number != 7)
        .map(|(_, digit)| digit)
        .chain([&digits[0]]);
    assert!(stored.iter().map(Vec::as_slice).eq(good.map(|digit| &digit[..])));
}

#[test]
fn a_stage_that_fails_ends_the_service_with_its_reason() {
    let service =
        Service::start(
            |number| if number == 100 { Err("the disk is gone".to_owned()) } else { Ok(()) },
        );
    let mut client = TcpStream::connect(service.address).unwrap();
    // It ends while its client still sends.
    let wire = bytes(&digits());
    while client.write_all(&wire).is_ok() {}
    let failure = service.thread.join().unwrap().unwrap_err();
    assert!(failure.contains("store") && failure.contains("the disk is gone"), "{failure}");
    assert_eq!(service.stored.lock().unwrap().len(), 100);
}

#[test]
fn a_full_ring_makes_the_client_wait_and_loses_nothing() {
    // The stage `store` waits until the test lets it go on.
    let (go, gate): (Sender<()>, Receiver<()>) = channel();
    let service = Service::start(move |number| {
        if number == 0 { gate.recv().map_err(|gone| gone.to_string()) } else { Ok(()) }
    });
    let digits = digits();
    let mut client = TcpStream::connect(service.address).unwrap();
    let mut sender = client.try_clone().unwrap();
    let wire = bytes(&digits);
    let sending = thread::spawn(move || sender.write_all(&wire).unwrap());
    // There are slots for 1,024 vectors. The inline stages have processed all of them, and the
    // service reads no more.
    let mut answered = answers(&mut client, 1000);
    go.send(()).unwrap();
    answered.extend(answers(&mut client, digits.len() - 1000));
    sending.join().unwrap();
    assert!(
        answered.iter().zip(&digits).all(|(answer, digit)| *answer == digit.iter().sum::<f32>())
    );
    let (ended, stored) = service.stop();
    assert!(ended.unwrap().is_drained());
    assert_eq!(stored.len(), digits.len());
}

#[test]
fn a_client_gets_all_of_its_own_answers_and_no_others() {
    let service = Service::start(|_| Ok(()));
    let digits = digits();
    // It sends more than one poll of the stages processes, and shuts down its side immediately.
    let mut client = TcpStream::connect(service.address).unwrap();
    client.write_all(&bytes(&digits[..900])).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let answered = answers(&mut client, 900);
    assert!(
        answered.iter().zip(&digits).all(|(answer, digit)| *answer == digit.iter().sum::<f32>())
    );
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "everything is answered");
    // A client that disconnects without its answers, and one after it.
    let mut gone = TcpStream::connect(service.address).unwrap();
    gone.write_all(&bytes(&digits[..900])).unwrap();
    drop(gone);
    let mut client = TcpStream::connect(service.address).unwrap();
    client.write_all(&bytes(&digits[1000..1001])).unwrap();
    assert_eq!(answers(&mut client, 1), [digits[1000].iter().sum::<f32>()]);
    assert!(service.stop().0.unwrap().is_drained());
}

#[test]
fn a_client_that_does_not_read_waits_and_does_not_prevent_the_end() {
    let service = Service::start(|_| Ok(()));
    let mut client = TcpStream::connect(service.address).unwrap();
    client.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    // Until the service reads no more, because there is no room for its answers either.
    let wire = bytes(&digits());
    while client.write_all(&wire).is_ok() {}
    let (sender, ended) = channel();
    thread::spawn(move || drop(sender.send(service.stop().0)));
    assert!(ended.recv_timeout(Duration::from_secs(60)).expect("it stops").unwrap().is_drained());
}
