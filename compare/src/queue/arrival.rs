//! What arrives with a message: its number, in the first and the last word under the clock, and in
//! every word in the verified pass.

/// How a message is written where it arrives, and looked at where it is dequeued.
pub trait Arrival: Sync {
    fn write(&self, number: u64, message: &mut [u8]);

    fn holds(&self, number: u64, message: &[u8]) -> bool;
}

/// The first and the last 8 bytes.
pub struct Ends;

/// All bytes.
pub struct Whole;

const WORD: usize = size_of::<u64>();

impl Arrival for Ends {
    #[inline(always)]
    fn write(&self, number: u64, message: &mut [u8]) {
        let tail = message.len() - WORD;
        message[..WORD].copy_from_slice(&number.to_le_bytes());
        message[tail..].copy_from_slice(&number.to_le_bytes());
    }

    #[inline(always)]
    fn holds(&self, number: u64, message: &[u8]) -> bool {
        let tail = message.len() - WORD;
        message[..WORD] == number.to_le_bytes() && message[tail..] == number.to_le_bytes()
    }
}

impl Arrival for Whole {
    fn write(&self, number: u64, message: &mut [u8]) {
        message.chunks_mut(WORD).for_each(|word| word.copy_from_slice(&number.to_le_bytes()));
    }

    fn holds(&self, number: u64, message: &[u8]) -> bool {
        message.chunks(WORD).all(|word| *word == number.to_le_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_end_and_a_foreign_byte_are_seen() {
        let mut message = [0; 64];
        Ends.write(7, &mut message);
        assert!(Ends.holds(7, &message) && !Ends.holds(8, &message) && !Whole.holds(7, &message));
        for wrong in [0, 63] {
            let mut spoiled = message;
            spoiled[wrong] ^= 1;
            assert!(!Ends.holds(7, &spoiled));
        }
        Whole.write(7, &mut message);
        assert!(Whole.holds(7, &message) && Ends.holds(7, &message));
        message[33] ^= 1;
        assert!(!Whole.holds(7, &message) && Ends.holds(7, &message));
    }
}
