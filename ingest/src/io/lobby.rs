//! Where the connections of a service are counted and distributed: by lane and by peer.
//!
//! The kernel gives each connection to whichever lane accepts first. The lobby keeps lanes even:
//! a lane that accepts a connection hands it to the lane that has the fewest, if the listener is
//! shared, and to one that has room, if it has none itself. A connection that was handed over waits
//! in the other lane's inbox, and its bell is rung. Lanes meet here when a connection begins and
//! when it ends, and at no other time.
//!
//! It promises that no connection is lost on the way: one that can't be handed over is refused by
//! the lane that has it, and a lane that goes closes its inbox.
//!
//! A connection whose hello names a producer moves once more: to the lane of that producer.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::conn::Socket;
use super::poller::Bell;
use crate::notice;

/// The pause between two warnings that connections are closed.
const WARN_PAUSE: Duration = Duration::from_secs(10);

/// All lanes of a service, as their connections see them. Clone it for another handle.
#[derive(Clone, Debug)]
pub struct Lobby(Arc<LobbyShared>);

#[derive(Debug)]
struct LobbyShared {
    lanes: Vec<LobbyLane>,
    /// The most connections of a lane, and of one peer over all lanes.
    conns_max: usize,
    per_peer_max: usize,
    peers: Mutex<HashMap<IpAddr, usize>>,
    /// When it was said that all places are taken, and that a peer has too many.
    full_said: Mutex<Option<Instant>>,
    over_peer_said: Mutex<Option<Instant>>,
}

#[derive(Debug)]
struct LobbyLane {
    conns: AtomicUsize,
    bell: Bell,
    has_mail: AtomicBool,
    /// None once the lane takes no more.
    inbox: Mutex<Option<Vec<Guest>>>,
}

/// A connection with its place in a lane.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) socket: Socket,
    pub(super) place: LobbyPlace,
    /// What another lane has received of it already; its first bytes.
    pub(super) front: Vec<u8>,
}

/// A connection's place in its lane, and among its peer's connections. Dropping it frees both.
#[derive(Debug)]
pub(super) struct LobbyPlace {
    lobby: Arc<LobbyShared>,
    lane: usize,
    peer: Option<IpAddr>,
}

/// What became of an accepted connection.
#[derive(Debug)]
pub(super) enum Reception {
    /// It is this lane's.
    Stays(Guest),
    /// Another lane has it.
    Left,
    /// No lane has room.
    NoRoom,
    /// Its peer has as many as it may.
    OverPeer,
}

impl Lobby {
    /// A lobby for one lane per bell, of at most `conns_max` connections each, and at most
    /// `per_peer_max` of one peer.
    #[must_use]
    pub fn new(bells: Vec<Bell>, conns_max: usize, per_peer_max: usize) -> Self {
        let lane = |bell| LobbyLane {
            conns: AtomicUsize::new(0),
            bell,
            has_mail: AtomicBool::new(false),
            inbox: Mutex::new(Some(Vec::new())),
        };
        let lanes = bells.into_iter().map(lane).collect();
        let peers = Mutex::new(HashMap::new());
        let (full_said, over_peer_said) = (Mutex::default(), Mutex::default());
        Self(Arc::new(LobbyShared {
            lanes,
            conns_max,
            per_peer_max,
            peers,
            full_said,
            over_peer_said,
        }))
    }

    /// The seat of the lane with that number.
    ///
    /// # Panics
    /// There is no such lane.
    #[must_use]
    pub fn seat(&self, lane: usize) -> LobbySeat {
        assert!(lane < self.0.lanes.len(), "there is no lane {lane}");
        LobbySeat { lobby: Arc::clone(&self.0), lane }
    }
}

/// Which of the `lanes` serves a producer: all of its connections meet there, so that one lane
/// knows all of its requests. Consecutive numbers are spread evenly.
#[must_use]
pub fn home_of(producer: u64, lanes: u32) -> u32 {
    (producer % u64::from(lanes.max(1))) as u32
}

/// One lane's side of the lobby. Dropping it closes the lane's inbox.
#[derive(Debug)]
pub struct LobbySeat {
    lobby: Arc<LobbyShared>,
    lane: usize,
}

impl LobbySeat {
    /// The lane's number, and the number of lanes.
    pub(super) fn number(&self) -> (u32, u32) {
        (self.lane as u32, self.lobby.lanes.len() as u32)
    }

    /// The lane's bell.
    #[must_use]
    pub fn bell(&self) -> &Bell {
        &self.own().bell
    }

    fn own(&self) -> &LobbyLane {
        &self.lobby.lanes[self.lane]
    }

    /// Finds a place for an accepted connection.
    pub(super) fn receive(&self, socket: Socket) -> Reception {
        let lobby = &self.lobby;
        let count = |lane: usize| lobby.lanes[lane].conns.load(Ordering::Relaxed);
        let mut lane = self.lane;
        // The kernel spreads TCP connections itself.
        if socket.is_unix() || count(lane) >= lobby.conns_max {
            let fewest = (0..lobby.lanes.len()).min_by_key(|&lane| count(lane));
            lane = fewest.filter(|&fewest| count(fewest) < count(lane)).unwrap_or(lane);
        }
        let peer = match lobby.join(lane, &socket) {
            Ok(peer) => peer,
            Err(refused) => return refused,
        };
        let place = LobbyPlace { lobby: Arc::clone(lobby), lane, peer };
        let guest = Guest { socket, place, front: Vec::new() };
        if lane == self.lane { Reception::Stays(guest) } else { self.hand_over(guest) }
    }

    /// Moves a connection of this lane to another one.
    pub(super) fn move_to(&self, lane: u32, mut guest: Guest) -> Reception {
        let (lanes, lane) = (&self.lobby.lanes, lane as usize);
        if lanes[lane].conns.fetch_add(1, Ordering::Relaxed) >= self.lobby.conns_max {
            lanes[lane].conns.fetch_sub(1, Ordering::Relaxed);
            return Reception::NoRoom;
        }
        lanes[guest.place.lane].conns.fetch_sub(1, Ordering::Relaxed);
        guest.place.lane = lane;
        self.hand_over(guest)
    }

    /// Puts a connection into the inbox of the lane that it has a place in.
    fn hand_over(&self, guest: Guest) -> Reception {
        let other = &self.lobby.lanes[guest.place.lane];
        match lock(&other.inbox).as_mut() {
            Some(inbox) => {
                inbox.push(guest);
                other.has_mail.store(true, Ordering::Release);
                // Within the lock, so that the bell isn't rung after the inbox was emptied.
                other.bell.ring();
                Reception::Left
            }
            None => Reception::NoRoom,
        }
    }

    /// Whether other lanes have handed connections over.
    #[inline]
    pub(super) fn has_mail(&self) -> bool {
        self.own().has_mail.load(Ordering::Acquire)
    }

    /// The connections that other lanes have handed over.
    pub(super) fn take_mail(&self) -> Vec<Guest> {
        let own = self.own();
        let mut inbox = lock(&own.inbox);
        own.has_mail.store(false, Ordering::Relaxed);
        inbox.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// From now on nothing is handed to this lane. What waits is closed.
    pub(super) fn close(&self) {
        let guests = lock(&self.own().inbox).take();
        // Dropped without the lock: a place takes another one.
        drop(guests);
    }
}

impl Drop for LobbySeat {
    fn drop(&mut self) {
        self.close();
    }
}

impl LobbyShared {
    /// Takes a place in a lane, and one of the peer's. A Unix socket's peer has no bound of its
    /// own: it is on this machine, and the file's permissions say who may connect.
    fn join(&self, lane: usize, socket: &Socket) -> Result<Option<IpAddr>, Reception> {
        let peer = socket.peer().map(network);
        if self.lanes[lane].conns.fetch_add(1, Ordering::Relaxed) >= self.conns_max {
            self.lanes[lane].conns.fetch_sub(1, Ordering::Relaxed);
            self.warn_full();
            return Err(Reception::NoRoom);
        }
        if let Some(peer) = peer {
            let mut peers = lock(&self.peers);
            let count = peers.entry(peer).or_default();
            if *count >= self.per_peer_max {
                self.lanes[lane].conns.fetch_sub(1, Ordering::Relaxed);
                drop(peers);
                self.warn_over_peer(peer);
                return Err(Reception::OverPeer);
            }
            *count += 1;
        }
        Ok(peer)
    }

    fn warn_full(&self) {
        if is_warning_due(&self.full_said, Instant::now()) {
            let most = self.conns_max;
            notice::warn(format_args!(
                "a connection was closed: every lane that it could go to has {most}, all that \
                 --max-connections and the limit of descriptors (ulimit -n) allow; raise them; \
                 others aren't said for {WARN_PAUSE:?}"
            ));
        }
    }

    fn warn_over_peer(&self, peer: IpAddr) {
        if is_warning_due(&self.over_peer_said, Instant::now()) {
            let most = self.per_peer_max;
            notice::warn(format_args!(
                "a connection of {peer} was closed: it has {most}, all that \
                 --connections-per-peer allows; raise it; others aren't said for {WARN_PAUSE:?}"
            ));
        }
    }
}

/// Whether a warning may be given, which was given last at that time. Then this is the time.
fn is_warning_due(said: &Mutex<Option<Instant>>, now: Instant) -> bool {
    let mut said = lock(said);
    let is_due = said.is_none_or(|said| now.saturating_duration_since(said) >= WARN_PAUSE);
    if is_due {
        *said = Some(now);
    }
    is_due
}

impl Drop for LobbyPlace {
    fn drop(&mut self) {
        self.lobby.lanes[self.lane].conns.fetch_sub(1, Ordering::Relaxed);
        let Some(peer) = self.peer else { return };
        let mut peers = lock(&self.lobby.peers);
        if let Some(count) = peers.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                peers.remove(&peer);
            }
        }
    }
}

/// What counts as one peer: an IPv4 address, or the 64 bits of an IPv6 network, all of which one
/// host may use.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let bits = u128::from(address) >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from(bits))
        }
        v4 => v4,
    }
}

/// A panic elsewhere leaves counts and inboxes whole: each change is one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn lobby(lanes: usize, conns_max: usize, per_peer_max: usize) -> (Lobby, Vec<LobbySeat>) {
        let bells = (0..lanes).map(|_| Bell::new().unwrap()).collect();
        let lobby = Lobby::new(bells, conns_max, per_peer_max);
        let seats = (0..lanes).map(|lane| lobby.seat(lane)).collect();
        (lobby, seats)
    }

    fn unix() -> Socket {
        Socket::unix(UnixStream::pair().unwrap().0).unwrap()
    }

    fn tcp() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (Socket::tcp(listener.accept().unwrap().0).unwrap(), client)
    }

    #[test]
    fn one_lane_accepts_and_all_get_the_same() {
        let (_lobby, seats) = lobby(3, 4, 100);
        let mut own = Vec::new();
        for _ in 0..12 {
            if let Reception::Stays(guest) = seats[1].receive(unix()) {
                own.push(guest);
            }
        }
        assert!(matches!(seats[1].receive(unix()), Reception::NoRoom));
        let mail: Vec<usize> = seats.iter().map(|seat| seat.take_mail().len()).collect();
        assert_eq!((own.len(), mail), (4, vec![4, 0, 4]));
        assert!(seats.iter().all(|seat| !seat.has_mail()));
        // The others' connections were dropped above, so their places are free again.
        assert!(matches!(seats[1].receive(unix()), Reception::Left));
    }

    #[test]
    fn a_full_lane_hands_over_and_a_closed_one_takes_nothing() {
        let (_lobby, seats) = lobby(2, 1, 100);
        let (first, second, third) = (tcp(), tcp(), tcp());
        let Reception::Stays(_kept) = seats[0].receive(first.0) else { panic!("it has room") };
        assert!(matches!(seats[0].receive(second.0), Reception::Left));
        assert!(matches!(seats[0].receive(third.0), Reception::NoRoom));
        seats[1].close();
        assert!(matches!(seats[0].receive(tcp().0), Reception::NoRoom));
        assert!(seats[1].take_mail().is_empty());
    }

    #[test]
    fn a_connection_moves_with_its_place_and_its_bytes() {
        let (lobby, seats) = lobby(2, 1, 1);
        let Reception::Stays(mut guest) = seats[0].receive(tcp().0) else { panic!("it has room") };
        guest.front = vec![1, 2, 3];
        assert!(matches!(seats[0].move_to(1, guest), Reception::Left));
        let mail = seats[1].take_mail();
        assert_eq!((mail.len(), &mail[0].front[..], mail[0].place.lane), (1, &[1, 2, 3][..], 1));
        // The place that it had is free, the one that it has isn't.
        let Reception::Stays(second) = seats[0].receive(unix()) else { panic!("it has room") };
        assert!(matches!(seats[0].move_to(1, second), Reception::NoRoom));
        drop(mail);
        let Reception::Stays(third) = seats[0].receive(unix()) else { panic!("it has room") };
        seats[1].close();
        assert!(matches!(seats[0].move_to(1, third), Reception::NoRoom));
        let counts = lobby.0.lanes.iter().map(|lane| lane.conns.load(Ordering::Relaxed));
        assert_eq!(counts.collect::<Vec<_>>(), [0, 0]);
        assert!(lock(&lobby.0.peers).is_empty());
    }

    #[test]
    fn a_peer_has_its_share_of_all_lanes() {
        let (lobby, seats) = lobby(2, 100, 3);
        let mut guests = Vec::new();
        for number in 0..3 {
            let Reception::Stays(guest) = seats[number % 2].receive(tcp().0) else {
                panic!("room")
            };
            guests.push(guest);
        }
        assert!(matches!(seats[0].receive(tcp().0), Reception::OverPeer));
        assert!(matches!(seats[0].receive(unix()), Reception::Left | Reception::Stays(_)));
        guests.pop();
        assert!(matches!(seats[1].receive(tcp().0), Reception::Stays(_)));
        drop(guests);
        assert!(lock(&lobby.0.peers).is_empty());
    }

    #[test]
    fn warnings_have_a_pause() {
        let (said, start) = (Mutex::default(), Instant::now());
        let due = |after| is_warning_due(&said, start + after);
        assert!(due(Duration::ZERO) && !due(Duration::ZERO));
        assert!(!due(WARN_PAUSE - Duration::from_nanos(1)));
        assert!(due(WARN_PAUSE) && !due(2 * WARN_PAUSE - Duration::from_nanos(1)));
        assert!(due(3 * WARN_PAUSE));
    }

    #[test]
    fn an_ipv6_network_is_one_peer() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::3"), of("2001:db8:1:2:ffff::"));
        assert_ne!(of("2001:db8:1:2::3"), of("2001:db8:1:3::3"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }
}
