//! Payloads that tell of themselves, and how many of them: what the race tests of lanes and queues
//! share.

/// Bytes of the largest payload.
pub const PAYLOAD_BYTES_MAX: usize = 1000;
/// xorshift64*: a stream of numbers from a seed.
pub struct Draw(u64);

impl Draw {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(1))
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) % bound
    }
}

/// Length and bytes of a payload follow from its number, so that whoever sees it knows what must
/// stand there. Most are small; one of four is up to the maximum.
pub fn payload_len(number: u64) -> usize {
    let mut draw = Draw::new(number);
    let max = if draw.below(4) == 0 { PAYLOAD_BYTES_MAX } else { 120 };
    1 + draw.below(max as u64) as usize
}

fn word(number: u64, at: usize) -> [u8; 8] {
    (number ^ (at as u64) << 48).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes()
}

pub fn write_payload(bytes: &mut [u8], number: u64) {
    for (at, part) in bytes.chunks_mut(8).enumerate() {
        part.copy_from_slice(&word(number, at)[..part.len()]);
    }
}

#[track_caller]
pub fn check_payload(bytes: &[u8], number: u64) {
    assert_eq!(bytes.len(), payload_len(number), "length of payload {number}");
    let right =
        bytes.chunks(8).enumerate().all(|(at, part)| *part == word(number, at)[..part.len()]);
    assert!(right, "payload {number} isn't what was written");
}

/// `SLIPRING_EVENTS`, or so many.
pub fn events(default: u64) -> u64 {
    let given = std::env::var("SLIPRING_EVENTS").ok();
    given.map_or(default, |text| text.parse().expect("SLIPRING_EVENTS is a number"))
}
