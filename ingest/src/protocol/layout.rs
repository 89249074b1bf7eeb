//! Every offset and size of the wire, in one place. All integers and floats are little-endian.
//!
//! ```text
//! count mode                      request                              answer
//!   byte 0        4                                      byte 0        4
//!        ┌────────┬──────────────────────┐                    ┌────────┬─────────────────┐
//!        │ n  u32 │ n x dim f32          │                    │ n  u32 │ n scores f32    │
//!        └────────┴──────────────────────┘                    └────────┴─────────────────┘
//!
//! header mode
//!   byte 0     2         3        4       6        8              16
//!        ┌─────┬─────────┬────────┬───────┬────────┬──────────────┬──────────────────────┐
//! request│"SR" │ version │ flags  │ n u16 │dim u16 │ sequence u64 │ n x dim f32          │
//!        ├─────┼─────────┼────────┼───────┼────────┼──────────────┼──────────────────────┤
//! answer │"SR" │ version │ status │ n u16 │credits │ sequence u64 │ n scores f32         │
//!        └─────┴─────────┴────────┴───────┴────────┴──────────────┴──────────────────────┘
//! ```

/// Bytes of a count-mode header, in both directions.
pub const COUNT_HEADER_BYTES: usize = 4;

/// Bytes of a header-mode header, in both directions.
pub const FRAME_HEADER_BYTES: usize = 16;

/// Bytes of one f32.
pub(super) const F32_BYTES: usize = 4;

/// The first two bytes of every header-mode frame.
pub(super) const MAGIC: [u8; 2] = *b"SR";

/// The version of header mode that this build speaks.
pub const VERSION: u8 = 1;

/// Most vectors a frame may carry: the upper half of a count is zero, which is how count mode is
/// told from everything else.
pub const VECTORS_MAX: u32 = u16::MAX as u32;

/// Most payload bytes of one frame, whatever the limits say: 256 MiB, so that every length fits a
/// u32.
pub const PAYLOAD_BYTES_MAX: u64 = 256 << 20;

pub(super) const VERSION_AT: usize = 2;
/// Flags of a request, status of an answer.
pub(super) const FLAGS_AT: usize = 3;
pub(super) const STATUS_AT: usize = 3;
pub(super) const N_AT: usize = 4;
/// Dimension of a request, credits of an answer.
pub(super) const DIM_AT: usize = 6;
pub(super) const CREDITS_AT: usize = 6;
pub(super) const SEQUENCE_AT: usize = 8;

/// The u16 at `at`; the caller has checked that the header is whole.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// The u32 at `at`; the caller has checked that the header is whole.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The u64 at `at`; the caller has checked that the header is whole.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// Appends `values` in wire order.
pub(super) fn put_f32s(values: &[f32], out: &mut Vec<u8>) {
    out.reserve(values.len() * F32_BYTES);
    for value in values {
        out.extend_from_slice(&value.to_le_bytes());
    }
}
