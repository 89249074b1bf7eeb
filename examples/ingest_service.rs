//! An ingest service over the public API alone, for one client at a time:
//! ```text
//!   socket ─▶ pool ─▶ check ─▶ score ─▶ answer to the client        on one pinned thread
//!                                └────▶ store                       on a thread of its own
//! ```
//! A frame is [`DIM`] `f32`, little-endian. Its answer is their sum, or NaN for a vector that isn't
//! finite, which isn't stored. A full ring is back-pressure: nothing is read, and the client waits.
//! A client that doesn't read its answers waits as well. A stage that fails ends the service.
//! `cargo run --example ingest_service -- 127.0.0.1:9900` serves until its standard input ends.

use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{cell::RefCell, rc::Rc};

use slipring::machine::{CpuMask, PinPolicy};
use slipring::pipeline::{CloseReport, Lane, LaneSpec, Outcome, StageSpec, View};
use slipring::ring::{Received, RingOptions};

/// Components of a vector.
pub const DIM: usize = 64;
const FRAME_BYTES: usize = DIM * size_of::<f32>();
/// How long the thread waits for one thing before it polls the others.
const LOOK: Duration = Duration::from_millis(5);

/// Serves one client after the other until `stop` is set, then closes the lane. `store` gets every
/// finite vector, in order.
pub fn serve(
    listener: &TcpListener,
    stop: &AtomicBool,
    mut store: impl FnMut(&[f32]) -> Result<(), String> + Send + 'static,
) -> Result<CloseReport, Box<dyn Error>> {
    let pool =
        RingOptions { bytes: 4 << 20, max_slice_bytes: 2 * FRAME_BYTES, ..RingOptions::default() };
    let spec = LaneSpec::new(pool, 1024).layer([StageSpec::inline("check")]);
    let spec = spec.layer([StageSpec::inline("score"), StageSpec::thread("store")]);
    let mut started = spec.cpu(CpuMask::read().cpus()[0], PinPolicy::Prefer).start::<()>()?;
    let mut take = |name| started.stages.remove(name).ok_or("the specification names every stage");
    let (check, score, sink) = (take("check")?, take("score")?, take("store")?);
    started.lane.attach(check, |view: View<'_, ()>| match view.as_f32s() {
        Ok(vector) if vector.iter().all(|component| component.is_finite()) => Outcome::Done,
        // Only this event is rejected: the stage goes on.
        _ => Outcome::Reject("not a finite vector".to_owned()),
    })?;
    let answers = Rc::new(RefCell::new(Vec::new()));
    let scored = Rc::clone(&answers);
    started.lane.attach(score, move |view: View<'_, ()>| {
        let vector = view.as_f32s().ok().filter(|_| !view.is_rejected());
        let sum = vector.map_or(f32::NAN, |vector| vector.iter().sum());
        scored.borrow_mut().extend_from_slice(&sum.to_le_bytes());
        Outcome::Done
    })?;
    let sink = sink.spawn(move |view: View<'_, ()>| match view.as_f32s() {
        Ok(vector) if !view.is_rejected() => {
            store(vector).map_or_else(Outcome::Fail, |()| Outcome::Done)
        }
        _ => Outcome::Done,
    })?;
    listener.set_nonblocking(true)?;
    let (mut lane, mut served) = (started.lane, Ok(()));
    while served.is_ok() && !stop.load(Ordering::Acquire) && !lane.has_failed() {
        match listener.accept() {
            Ok((client, _)) => served = serve_client(&mut lane, client, &answers, stop),
            Err(error) if is_temporary(&error) => lane.wait(false, LOOK),
            Err(error) => served = Err(error.into()),
        }
        lane.poll();
    }
    println!("{:?}", lane.stats());
    let report = lane.close(Duration::from_secs(10));
    match &report.failure {
        // The failure says more than the errors that it caused.
        Some(failure) => Err(failure.to_string().into()),
        None => served.and(sink.join().error.map_or(Ok(report), |error| Err(error.into()))),
    }
}

fn is_temporary(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted
    )
}

/// Receives into the pool, cuts frames in place and answers every frame. A client may disconnect at
/// any byte; that is no error.
fn serve_client(
    lane: &mut Lane<()>,
    mut client: TcpStream,
    answers: &RefCell<Vec<u8>>,
    stop: &AtomicBool,
) -> Result<(), Box<dyn Error>> {
    client
        .set_read_timeout(Some(LOOK))
        .and(client.set_write_timeout(Some(LOOK)))
        .and(client.set_nodelay(true))?;
    while lane.poll().processed > 0 {} // Answers that the client before didn't wait for.
    answers.borrow_mut().clear();
    let (mut received, mut sends): (Option<Received>, _) = (None, true);
    while !stop.load(Ordering::Acquire) && !lane.has_failed() {
        let is_cut = |received: &Option<Received>| {
            received.as_ref().is_none_or(|rest| rest.len() < FRAME_BYTES)
        };
        if sends && is_cut(&received) && answers.borrow().is_empty() {
            // Part of a frame moves in front of what is received next.
            let part = received.take().map_or(Vec::new(), |rest| rest.to_vec());
            let mut grant = lane.reserve_rest(2 * FRAME_BYTES)?;
            grant[..part.len()].copy_from_slice(&part);
            let read = client.read(&mut grant[part.len()..]);
            sends = read.as_ref().map_or_else(is_temporary, |bytes| *bytes > 0);
            received = grant.received(part.len() + read.unwrap_or(0)).ok();
        }
        while let Some(rest) =
            received.as_mut().filter(|rest| rest.len() >= FRAME_BYTES && lane.free_slots() > 0)
        {
            lane.push(rest.cut(0, FRAME_BYTES)?, ())?;
        }
        lane.flush();
        let is_idle = lane.poll().is_idle();
        // Full: waits until the stages have processed some.
        (is_idle && lane.free_slots() == 0).then(|| lane.wait(true, LOOK));
        let sent = client.write(&answers.borrow());
        let is_over = !sends && is_idle && is_cut(&received) && answers.borrow().is_empty();
        if is_over || sent.as_ref().is_err_and(|error| !is_temporary(error)) {
            return Ok(());
        }
        answers.borrow_mut().drain(..sent.unwrap_or(0));
    }
    Ok(())
}

#[allow(dead_code, reason = "the test that drives it has a main of its own")]
fn main() -> Result<(), Box<dyn Error>> {
    static STOP: AtomicBool = AtomicBool::new(false);
    let listener =
        TcpListener::bind(std::env::args().nth(1).as_deref().unwrap_or("127.0.0.1:9900"))?;
    std::thread::spawn(|| {
        STOP.store(std::io::stdin().read_to_end(&mut Vec::new()).is_ok(), Ordering::Release)
    });
    println!(
        "listening on {}; the end of standard input ends it, in a terminal with Ctrl-D",
        listener.local_addr()?
    );
    println!("{:?}", serve(&listener, &STOP, |_| Ok(()))?);
    Ok(())
}
