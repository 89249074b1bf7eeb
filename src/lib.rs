//! Memory that moves with the ring.
