//! `.npy` images: any header, any length.
#![no_main]

use libfuzzer_sys::fuzz_target;
use slipring_fuzz::read_image;

fuzz_target!(|bytes: &[u8]| read_image(bytes, "object"));
