//! Figures of fixed width in the metadata of messages, and the checksum.
//!
//! A figure is text, because that is what metadata holds: decimal or hexadecimal digits with
//! leading zeros. As its width never changes, it can be written over in place.

use arrow_ipc::{KeyValue, KeyValueBuilder, root_as_message};
use crc_fast::{CrcAlgorithm, Digest};
use flatbuffers::{FlatBufferBuilder, ForwardsUOffset, Vector, WIPOffset};

/// A figure of a message's metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FixedField {
    pub key: &'static str,
    /// Digits.
    pub width: usize,
    /// 10 or 16.
    pub radix: u32,
}

const fn decimal(key: &'static str) -> FixedField {
    FixedField { key, width: 20, radix: 10 }
}

const fn hexadecimal(key: &'static str, width: usize) -> FixedField {
    FixedField { key, width, radix: 16 }
}

/// The format of the head or the record.
pub(super) const FORMAT: FixedField = FixedField { key: "slipring.record", width: 4, radix: 10 };
/// Of the start of the service that wrote it: random.
pub(super) const EPOCH: FixedField = hexadecimal("slipring.epoch", 16);
/// Records begin at multiples of it.
pub(super) const BLOCK_LENGTH: FixedField = decimal("slipring.block");
/// Where in the file the record begins.
pub(super) const OFFSET: FixedField = decimal("slipring.offset");
/// The sequence of its first row.
pub(super) const FIRST: FixedField = decimal("slipring.first");
/// Bytes of the file that had been synced when the record was made.
pub(super) const DURABLE: FixedField = decimal("slipring.durable");
/// Producer marks behind the vectors.
pub(super) const PRODUCERS: FixedField = decimal("slipring.producers");
/// The checksum of the record before, or of the head.
pub(super) const BEFORE: FixedField = hexadecimal("slipring.before", 8);
/// The checksum of header and body, with these digits as zeros.
pub(super) const CRC: FixedField = hexadecimal("slipring.crc", 8);

impl FixedField {
    /// Writes a value at the beginning of `bytes`. It must fit the width.
    pub fn write(&self, bytes: &mut [u8], value: u64) {
        let mut value = value;
        for digit in bytes[..self.width].iter_mut().rev() {
            let radix = u64::from(self.radix);
            *digit = b"0123456789abcdef"[(value % radix) as usize];
            value /= radix;
        }
        assert!(value == 0, "a value too wide for {}", self.key);
    }

    /// Reads a value at the beginning of `bytes`, as [`FixedField::write`] writes it.
    pub fn read(&self, bytes: &[u8]) -> Option<u64> {
        bytes.get(..self.width)?.iter().try_fold(0_u64, |value, digit| {
            let is_ours = digit.is_ascii_digit() || (b'a'..=b'f').contains(digit);
            let digit = char::from(*digit).to_digit(self.radix).filter(|_| is_ours)?;
            value.checked_mul(u64::from(self.radix))?.checked_add(u64::from(digit))
        })
    }
}

/// Metadata of these fields, all zero.
pub(super) fn metadata<'a>(
    builder: &mut FlatBufferBuilder<'a>,
    fields: &[FixedField],
) -> WIPOffset<Vector<'a, ForwardsUOffset<KeyValue<'a>>>> {
    let pairs: Vec<_> = fields
        .iter()
        .map(|field| {
            let (key, value) =
                (builder.create_string(field.key), builder.create_string(&"0".repeat(field.width)));
            let mut pair = KeyValueBuilder::new(builder);
            pair.add_key(key);
            pair.add_value(value);
            pair.finish()
        })
        .collect();
    builder.create_vector(&pairs)
}

/// Where in a message's metadata the digits of each field are; None if it isn't a message that has
/// exactly one of each with its width.
pub(super) fn places<const N: usize>(
    message: &[u8],
    fields: &[FixedField; N],
) -> Option<[usize; N]> {
    let pairs = root_as_message(message).ok()?.custom_metadata()?;
    let mut places = [None; N];
    for pair in pairs.iter() {
        let (key, value) = (pair.key()?, pair.value()?);
        let Some(index) = fields.iter().position(|field| field.key == key) else { continue };
        let at = value.as_ptr().addr().checked_sub(message.as_ptr().addr())?;
        if value.len() != fields[index].width || places[index].replace(at).is_some() {
            return None;
        }
    }
    let mut found = [0; N];
    for (found, place) in found.iter_mut().zip(places) {
        *found = place?;
    }
    Some(found)
}

/// CRC32C of bytes that come in pieces.
#[derive(Clone)]
pub(super) struct RunningCrc(Digest);

impl RunningCrc {
    pub fn new() -> Self {
        Self(Digest::new(CrcAlgorithm::Crc32Iscsi))
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn value(&self) -> u32 {
        self.0.finalize() as u32
    }
}

/// CRC32C of bytes.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_as_they_are_written() {
        for (field, value, text) in [
            (FIRST, u64::MAX, "18446744073709551615"),
            (FIRST, 0, "00000000000000000000"),
            (EPOCH, u64::MAX, "ffffffffffffffff"),
            (CRC, 0xabc, "00000abc"),
            (FORMAT, 1, "0001"),
        ] {
            let mut bytes = vec![b'x'; field.width + 1];
            field.write(&mut bytes, value);
            assert_eq!((&bytes[..field.width], bytes[field.width]), (text.as_bytes(), b'x'));
            assert_eq!(field.read(&bytes), Some(value));
        }
        for wrong in ["99999999999999999999", "+0000000000000000001", "0", "0000000000000000000a"] {
            assert_eq!(FIRST.read(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(CRC.read(b"0000ABCD"), None, "another spelling is another file");
    }

    #[test]
    fn the_checksum_is_crc32c() {
        // The check value of the catalogue of parametrised CRC algorithms.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        let mut running = RunningCrc::new();
        running.update(b"1234");
        running.update(b"56789");
        assert_eq!(running.value(), 0xe306_9283);
    }
}
