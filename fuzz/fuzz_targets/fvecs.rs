//! `.fvecs` images, known by their name, and what else may have it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use slipring_fuzz::read_image;

fuzz_target!(|bytes: &[u8]| read_image(bytes, "object.fvecs"));
