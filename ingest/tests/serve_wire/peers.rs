//! How connections are spread over lanes, and how many one peer may have.

use std::time::Duration;

use slipring_ingest::io::Counter;
use slipring_test_support::{wait_until, within};

use crate::support::client::Client;
use crate::support::service::Service;
use crate::support::vector;

/// Whether a connection is served; it may be closed because of a cap.
fn is_served(client: &mut Client) -> bool {
    client.try_send_bytes(&client.request(0, &vector(4, 1))).is_ok()
        && !client.bytes_of_answer().is_empty()
}

/// Connections of each lane so far.
fn by_lane(service: &Service) -> Vec<u64> {
    let lanes = service.server().watches();
    lanes.map(|lane| lane.counters.counts()[Counter::Accepted]).collect()
}

/// The lanes share one Unix listener, and whichever wakes first would get all connections.
#[test]
fn unix_connections_spread_over_lanes() {
    within(Duration::from_secs(60), || {
        let mut service = Service::start(4, "--lanes 4");
        let mut clients: Vec<Client> = (0..64).map(|_| Client::count(&service.unix(), 4)).collect();
        assert!(clients.iter_mut().all(is_served));
        let lanes = by_lane(&service);
        assert!(lanes.iter().all(|count| (15..=17).contains(count)), "{lanes:?}");
        drop(clients);
        service.stop();
    });
}

/// The kernel may give all connections of a port to one lane. While another has room, none is
/// refused.
#[test]
fn a_full_lane_hands_over() {
    within(Duration::from_secs(60), || {
        let words = "--lanes 3 --max-connections 4 --connections-per-peer 100";
        let mut service = Service::start(4, words);
        for address in [service.tcp(), service.unix()] {
            let mut clients: Vec<Client> = (0..12).map(|_| Client::count(&address, 4)).collect();
            assert!(clients.iter_mut().all(is_served));
            let mut late: Vec<Client> = (0..3).map(|_| Client::count(&address, 4)).collect();
            assert!(!late.iter_mut().any(is_served), "every lane is full");
            drop((clients, late));
            wait_until("all places are free", || {
                let counts = service.server().watches().map(|lane| lane.counters.counts());
                counts.map(|lane| lane[Counter::Ended]).sum::<u64>()
                    == by_lane(&service).iter().sum::<u64>()
            });
        }
        let totals = service.stop();
        assert_eq!(totals.counts[Counter::OverConnectionCap], 6, "{totals}");
        assert_eq!(totals.counts[Counter::Accepted], 24, "{totals}");
    });
}

/// One peer can't take all places, whatever the lanes that its connections are in.
#[test]
fn a_peer_has_a_cap_of_its_own() {
    within(Duration::from_secs(60), || {
        let mut service = Service::start(4, "--lanes 2 --connections-per-peer 3");
        let mut clients: Vec<Client> = (0..3).map(|_| service.count()).collect();
        assert!(clients.iter_mut().all(is_served));
        assert!(!is_served(&mut service.count()));
        assert!(is_served(&mut Client::count(&service.unix(), 4)), "another peer");
        drop(clients.pop());
        wait_until("its place is given again", || is_served(&mut service.count()));
        drop(clients);
        let totals = service.stop();
        assert!(totals.counts[Counter::OverPeerCap] >= 1, "{totals}");
        assert_eq!(totals.counts[Counter::OverConnectionCap], 0, "{totals}");
    });
}

/// Without the option, one peer leaves an eighth of all places to others.
#[test]
fn a_peer_leaves_some_places_to_others() {
    within(Duration::from_secs(60), || {
        let mut service = Service::start(4, "--max-connections 16");
        let mut clients: Vec<Client> = (0..20).map(|_| service.count()).collect();
        assert_eq!(clients.iter_mut().map(is_served).filter(|served| *served).count(), 14);
        let mut others: Vec<Client> = (0..2).map(|_| Client::count(&service.unix(), 4)).collect();
        assert!(others.iter_mut().all(is_served));
        drop((clients, others));
        service.stop();
    });
}
