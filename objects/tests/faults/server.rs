//! The faulty server: HTTP/1.1 on a port of its own, in the test's runtime.
//!
//! It serves objects by key, asks its plan for the fault of each request, and logs the requests. It
//! has no TLS, no upload and no listing.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use super::fault::Fault;
use super::http::{Answer, Request};
use super::object::Object;

type Plan = Box<dyn FnMut(&Request) -> Fault + Send>;

/// A running server. Dropping it ends it and its connections.
pub struct Server {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

struct Shared {
    objects: Mutex<HashMap<String, Vec<Object>>>,
    plan: Mutex<Plan>,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    seen: Vec<Seen>,
    fault_counts: BTreeMap<&'static str, u64>,
    connections: usize,
}

/// A request that arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    pub at: Instant,
    pub request: Request,
    pub fault: Fault,
}

impl Server {
    pub async fn start(objects: impl IntoIterator<Item = Object>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let objects =
            objects.into_iter().map(|object| (object.key.clone(), vec![object])).collect();
        let shared = Arc::new(Shared {
            objects: Mutex::new(objects),
            plan: Mutex::new(Box::new(|_| Fault::None)),
            log: Mutex::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared))).abort_handle();
        Self { address, shared, accepting }
    }

    /// From now on, `plan` chooses the fault of every request.
    pub fn set_plan(&self, plan: impl FnMut(&Request) -> Fault + Send + 'static) {
        *self.shared.plan.lock().unwrap() = Box::new(plan);
    }

    /// The next requests have these faults, in order of arrival. Later ones have none.
    pub fn set_faults(&self, faults: impl IntoIterator<Item = Fault>) {
        let mut faults: Vec<Fault> = faults.into_iter().collect();
        faults.reverse();
        self.set_plan(move |_| faults.pop().unwrap_or(Fault::None));
    }

    /// The next `times` requests that ask for the byte at `position` have this fault.
    pub fn set_fault_at(&self, position: u64, fault: Fault, times: usize) {
        let mut left = times;
        self.set_plan(move |request| {
            let hit = left > 0 && request.covers(position);
            left -= usize::from(hit);
            if hit { fault.clone() } else { Fault::None }
        });
    }

    /// A function that replaces an object by another version. A plan may call it.
    pub fn replacer(&self, key: &str) -> impl Fn() + Send + 'static {
        let (shared, key) = (Arc::downgrade(&self.shared), key.to_owned());
        move || {
            if let Some(shared) = shared.upgrade() {
                shared.replace(&key);
            }
        }
    }

    /// All versions that were served under this key, the newest last.
    pub fn versions(&self, key: &str) -> Vec<Object> {
        self.shared.objects.lock().unwrap()[key].clone()
    }

    /// The requests since the start or the last call.
    pub fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.shared.log.lock().unwrap().seen)
    }

    /// The number of answers with each fault, by the fault's name.
    pub fn fault_counts(&self) -> BTreeMap<&'static str, u64> {
        self.shared.log.lock().unwrap().fault_counts.clone()
    }

    /// The number of answers with a fault.
    pub fn faults(&self) -> u64 {
        let log = self.shared.log.lock().unwrap();
        log.fault_counts
            .iter()
            .filter(|(name, _)| **name != Fault::None.name())
            .map(|(_, count)| count)
            .sum()
    }

    pub fn connections(&self) -> usize {
        self.shared.log.lock().unwrap().connections
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // The connections are dropped together with this task.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        shared.log.lock().unwrap().connections += 1;
        while connections.try_join_next().is_some() {}
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            // A client may disconnect at any time, so a broken connection is no error.
            let _gone = serve(stream, &shared).await;
        });
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut unread = Vec::new();
    stream.set_nodelay(true)?;
    while let Some(request) = Request::read(&mut stream, &mut unread).await? {
        let fault = (shared.plan.lock().unwrap())(&request);
        shared.note(&request, &fault);
        let object = shared.object(&request, &fault);
        if fault == Fault::Garbage {
            tokio::io::AsyncWriteExt::write_all(&mut stream, b"*3\r\n+what?\r\n\0\0\r\n\r\n")
                .await?;
            return Ok(());
        }
        let answer = Answer::faulty(&fault, &request, object.as_ref());
        if !answer.write(&mut stream, request.method == "HEAD").await? {
            return Ok(());
        }
    }
    Ok(())
}

impl Shared {
    fn note(&self, request: &Request, fault: &Fault) {
        let mut log = self.log.lock().unwrap();
        *log.fault_counts.entry(fault.name()).or_default() += 1;
        log.seen.push(Seen { at: Instant::now(), request: request.clone(), fault: fault.clone() });
    }

    fn object(&self, request: &Request, fault: &Fault) -> Option<Object> {
        if *fault == Fault::Replaced {
            self.replace(&request.key);
        }
        self.objects.lock().unwrap().get(&request.key)?.last().cloned()
    }

    fn replace(&self, key: &str) {
        if let Some(versions) = self.objects.lock().unwrap().get_mut(key) {
            versions.extend(versions.last().map(Object::replaced));
        }
    }
}
