//! pipeline

mod pin;

pub use pin::{CpuMask, PinDowngrade, PinError, PinPolicy, PinReport, pin_current, unpin_current};
