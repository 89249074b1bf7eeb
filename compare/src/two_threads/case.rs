//! What is measured on two threads: the payload's size, how many are published together, the pool's
//! size, and the ring's length.

/// Slots of the ring, in every case except those about the ring's length.
const RING_SLOTS: usize = 4096;

/// Payloads published together.
const BATCHES: [usize; 3] = [1, 8, 64];

/// One case: `two-512B-b64` is payloads of 512 B, published 64 at a time; `two-512B-65536-b1` has a
/// ring of 65536 slots.
#[derive(Clone, Copy)]
pub struct Case {
    pub payload_bytes: usize,
    pub batch: usize,
    pub pool_bytes: usize,
    pub slots: usize,
}

impl Case {
    const fn of(payload_bytes: usize, pool_bytes: usize, batch: usize) -> Self {
        Self { payload_bytes, batch, pool_bytes, slots: RING_SLOTS }
    }

    pub fn name(&self) -> String {
        let payload = match self.payload_bytes {
            bytes if bytes.is_multiple_of(1 << 10) => format!("{}KiB", bytes >> 10),
            bytes => format!("{bytes}B"),
        };
        let slots =
            if self.slots == RING_SLOTS { String::new() } else { format!("{}-", self.slots) };
        format!("two-{payload}-{slots}b{}", self.batch)
    }

    /// Refuses a case that no contender could run.
    pub fn check(&self) -> Result<(), String> {
        if self.batch == 0 || self.batch > self.slots {
            return Err(format!(
                "a batch of {} doesn't fit a ring of {} slots: from 1 to that",
                self.batch, self.slots
            ));
        }
        Ok(())
    }
}

/// The cases of a run; the quick ones first.
pub fn cases(quick: bool) -> Vec<Case> {
    let of_512 = |batch| Case::of(512, 1 << 30, batch);
    let mut cases = vec![of_512(1), of_512(64)];
    if quick {
        return cases;
    }
    cases.push(of_512(8));
    cases.extend([1, 64].map(|batch| Case { slots: 65536, ..of_512(batch) }));
    // Eight bytes are the number of the payload and nothing else: the cost of a handover alone.
    for (payload_bytes, pool_bytes) in [(8, 64 << 20), (4 << 10, 64 << 20)] {
        cases.extend(BATCHES.map(|batch| Case::of(payload_bytes, pool_bytes, batch)));
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_others_rely_on() {
        let names = |quick| cases(quick).iter().map(Case::name).collect::<Vec<_>>();
        assert_eq!(names(true), ["two-512B-b1", "two-512B-b64"]);
        assert_eq!(
            names(false)[..4],
            ["two-512B-b1", "two-512B-b64", "two-512B-b8", "two-512B-65536-b1"]
        );
        assert_eq!(names(false)[4], "two-512B-65536-b64");
        assert_eq!(names(false)[5..8], ["two-8B-b1", "two-8B-b8", "two-8B-b64"]);
        assert_eq!(names(false)[8..], ["two-4KiB-b1", "two-4KiB-b8", "two-4KiB-b64"]);
    }

    #[test]
    fn a_batch_beyond_the_ring_is_refused() {
        assert!(cases(false).iter().all(|case| case.check().is_ok()));
        let too_long = Case { slots: 32, ..Case::of(512, 1 << 20, 64) };
        assert!(too_long.check().is_err_and(|error| error.contains("batch of 64")));
    }
}
