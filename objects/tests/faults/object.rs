//! An object of the faulty server.
//!
//! Its bytes are a section of one table of random bytes, chosen by its seed. So a range can be sent
//! without a copy and compared without generating it again. A range of a wrong offset, version or
//! object never compares equal.

use std::ops::Range;
use std::sync::LazyLock;
use std::time::{Duration, UNIX_EPOCH};

use crc_fast::{CrcAlgorithm, checksum};

/// The longest object.
pub const OBJECT_BYTES_MAX: usize = 6 << 20;
const TABLE_BYTES: usize = 8 << 20;

static TABLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut random = fastrand::Rng::with_seed(0x736c_6970);
    let mut table = vec![0; TABLE_BYTES];
    random.fill(&mut table);
    table
});

/// One version of an object.
#[derive(Clone, Debug)]
pub struct Object {
    pub key: String,
    pub bytes: &'static [u8],
    pub crc: u64,
    pub etag: String,
    pub last_modified: String,
    seed: u64,
}

impl Object {
    pub fn new(key: &str, seed: u64, object_bytes: usize) -> Self {
        assert!(
            object_bytes <= OBJECT_BYTES_MAX,
            "{object_bytes} bytes are too many: at most {OBJECT_BYTES_MAX}"
        );
        let starts = (TABLE_BYTES - OBJECT_BYTES_MAX) as u64;
        let first = fastrand::Rng::with_seed(seed).u64(..starts) as usize;
        let bytes = &TABLE[first..first + object_bytes];
        let crc = crc(bytes);
        // Versions are at least a second apart, so that their dates differ as well.
        let last_modified =
            httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(1_767_225_600 + seed));
        Self {
            key: key.to_owned(),
            bytes,
            crc,
            etag: format!("\"{crc:016x}\""),
            last_modified,
            seed,
        }
    }

    /// Another version under the same key, with the same length.
    pub fn replaced(&self) -> Self {
        Self::new(&self.key, self.seed + 1, self.bytes.len())
    }

    pub fn range(&self, range: Range<u64>) -> &'static [u8] {
        &self.bytes[range.start as usize..range.end as usize]
    }

    /// Panics unless `bytes` are this object's. `what` names the case.
    #[track_caller]
    pub fn assert_is(&self, bytes: &[u8], what: &str) {
        if crc(bytes) != self.crc || bytes.len() != self.bytes.len() {
            let wrong = self.bytes.iter().zip(bytes).position(|(right, got)| right != got);
            panic!(
                "{what}: {} bytes of {} arrived, the first wrong one is {wrong:?}: CRC {:016x} isn't {:016x}",
                bytes.len(),
                self.bytes.len(),
                crc(bytes),
                self.crc
            );
        }
    }
}

fn crc(bytes: &[u8]) -> u64 {
    checksum(CrcAlgorithm::Crc64Nvme, bytes)
}

#[test]
fn another_version_has_other_bytes() {
    let (old, other) = (Object::new("a", 1, 1000), Object::new("b", 2, 1000));
    let new = old.replaced();
    assert_eq!((new.key.as_str(), new.bytes.len()), ("a", 1000));
    assert!(old.bytes != new.bytes && old.etag != new.etag && old.bytes != other.bytes);
    assert_eq!(Object::new("c", 1, 2000).bytes[..1000], *old.bytes, "the seed alone counts");
    assert_eq!(old.range(10..20), &old.bytes[10..20]);
}

#[test]
#[should_panic(expected = "the first wrong one is Some(999)")]
fn a_wrong_byte_is_named() {
    let object = Object::new("a", 1, 1000);
    let mut bytes = object.bytes.to_vec();
    bytes[999] ^= 1;
    object.assert_is(&bytes, "a");
}
