//! The connections of a lane, by index and generation.

use super::conn::Conn;
use crate::stage::ConnId;

/// A slab: indices are reused with another generation.
#[derive(Debug)]
pub(super) struct Table {
    places: Vec<Place>,
    free: Vec<u32>,
    taken: usize,
    conns_max: usize,
}

#[derive(Debug)]
struct Place {
    generation: u32,
    conn: Option<Conn>,
}

impl Table {
    /// Room for `conns_max` connections.
    pub(super) fn new(conns_max: usize) -> Self {
        Self {
            places: Vec::with_capacity(conns_max),
            free: Vec::with_capacity(conns_max),
            taken: 0,
            conns_max,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.taken
    }

    pub(super) fn is_full(&self) -> bool {
        self.taken == self.conns_max
    }

    /// Puts a connection into a free place. The table isn't full.
    pub(super) fn insert(&mut self, conn: Conn) -> ConnId {
        debug_assert!(!self.is_full());
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { generation: 0, conn: None });
            (self.places.len() - 1) as u32
        });
        let place = &mut self.places[index as usize];
        let id = ConnId { index, generation: place.generation };
        place.conn = Some(conn);
        self.taken += 1;
        id
    }

    /// The connection, unless it is gone, even if another has taken its place.
    #[inline]
    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        let place = self.places.get_mut(id.index as usize)?;
        place.conn.as_mut().filter(|_| place.generation == id.generation)
    }

    pub(super) fn remove(&mut self, id: ConnId) -> Option<Conn> {
        let place = self
            .places
            .get_mut(id.index as usize)
            .filter(|place| place.generation == id.generation)?;
        let conn = place.conn.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(id.index);
        self.taken -= 1;
        Some(conn)
    }

    /// The connection whose carry buffer has waited longest.
    pub(super) fn oldest_carry(&self) -> Option<ConnId> {
        let carrying = |place: &Place| {
            place.conn.as_ref().filter(|conn| conn.carry.is_some()).map(|conn| conn.carried_at)
        };
        let places = self.places.iter().enumerate();
        let oldest = places
            .filter_map(|(index, place)| Some((carrying(place)?, index, place.generation)))
            .min();
        oldest.map(|(_, index, generation)| ConnId { index: index as u32, generation })
    }

    /// The ids of all connections.
    pub(super) fn ids(&self) -> Vec<ConnId> {
        let id = |(index, place): (usize, &Place)| {
            place
                .conn
                .is_some()
                .then_some(ConnId { index: index as u32, generation: place.generation })
        };
        self.places.iter().enumerate().filter_map(id).collect()
    }
}
