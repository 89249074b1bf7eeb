//! The payload of a sweep, and the check that it arrived: a pattern that begins with the payload's
//! number.

/// The bytes of the number at a payload's front; fewer if the payload is shorter.
const NUMBER_BYTES: usize = 8;

/// The payloads of one repeat.
#[derive(Clone, Debug)]
pub(super) struct Payload {
    pattern: Vec<u8>,
    /// Of the pattern, its number left out.
    sum: u64,
}

impl Payload {
    pub(super) fn new(bytes: usize) -> Self {
        let mut pattern: Vec<u8> =
            (0..bytes as u64).map(|at| (at.wrapping_mul(0x9e37_79b9) >> 13) as u8).collect();
        let number = bytes.min(NUMBER_BYTES);
        pattern[..number].fill(0);
        Self { sum: sum(&pattern), pattern }
    }

    pub(super) fn bytes(&self) -> usize {
        self.pattern.len()
    }

    /// Writes all of payload `number`; `into` is as long as the pattern.
    #[inline]
    pub(super) fn write(&self, number: u64, into: &mut [u8]) {
        into.copy_from_slice(&self.pattern);
        let digits = into.len().min(NUMBER_BYTES);
        into[..digits].copy_from_slice(&number.to_le_bytes()[..digits]);
    }

    /// Whether these are the bytes of payload `number`; reads them all.
    #[inline]
    pub(super) fn is_intact(&self, number: u64, bytes: &[u8]) -> bool {
        let digits = self.bytes().min(NUMBER_BYTES);
        bytes.len() == self.bytes()
            && bytes[..digits] == number.to_le_bytes()[..digits]
            && sum(bytes) == self.sum.wrapping_add(word(&number.to_le_bytes()[..digits]))
    }
}

/// The sum of the words, the last one filled up with zeros.
#[inline]
fn sum(bytes: &[u8]) -> u64 {
    let (words, tail) = bytes.as_chunks::<8>();
    words.iter().fold(word(tail), |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)))
}

#[inline]
fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_byte_is_found() {
        for len in [1usize, 7, 8, 9, 64, 100] {
            let payload = Payload::new(len);
            let mut bytes = vec![0; len];
            payload.write(300, &mut bytes);
            assert!(payload.is_intact(300, &bytes));
            assert!(!payload.is_intact(301, &bytes), "another payload's number");
            assert!(!payload.is_intact(300, &bytes[1..]), "too short");
            for at in 0..len {
                bytes[at] ^= 0x40;
                assert!(!payload.is_intact(300, &bytes), "byte {at} of {len}");
                bytes[at] ^= 0x40;
            }
        }
    }
}
