//! Types of components, and their conversion to f32 on request.

use half::f16;

/// A type of components that is sent as it is (f32), or that a conversion can turn into f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    F32,
    F64,
    F16,
    I8,
    U8,
}

impl Element {
    pub(super) fn bytes(self) -> usize {
        match self {
            Element::F64 => 8,
            Element::F32 => 4,
            Element::F16 => 2,
            Element::I8 | Element::U8 => 1,
        }
    }

    /// The name that people use.
    pub(super) fn name(self) -> &'static str {
        match self {
            Element::F32 => "f32",
            Element::F64 => "f64",
            Element::F16 => "f16",
            Element::I8 => "int8",
            Element::U8 => "uint8",
        }
    }

    /// Little-endian components as little-endian f32. A NaN stays one, and so does an infinity;
    /// what is beyond the range of f32 becomes an infinity. The index of the first such one comes
    /// too.
    pub(super) fn to_f32(self, bytes: &[u8]) -> (Vec<u8>, Option<usize>) {
        let (mut out, mut beyond) = (Vec::with_capacity(bytes.len() / self.bytes() * 4), None);
        match self {
            Element::F32 => out.extend_from_slice(bytes),
            Element::F64 => {
                for (index, component) in bytes.as_chunks::<8>().0.iter().enumerate() {
                    let wide = f64::from_le_bytes(*component);
                    let narrow = wide as f32;
                    if wide.is_finite() && narrow.is_infinite() {
                        beyond.get_or_insert(index);
                    }
                    out.extend_from_slice(&narrow.to_le_bytes());
                }
            }
            Element::F16 => bytes.as_chunks::<2>().0.iter().for_each(|component| {
                out.extend_from_slice(&f16::from_le_bytes(*component).to_f32().to_le_bytes());
            }),
            Element::I8 => bytes.iter().for_each(|component| {
                out.extend_from_slice(&f32::from(component.cast_signed()).to_le_bytes());
            }),
            Element::U8 => bytes.iter().for_each(|component| {
                out.extend_from_slice(&f32::from(*component).to_le_bytes());
            }),
        }
        (out, beyond)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(element: Element, bytes: &[u8]) -> Vec<f32> {
        let (converted, beyond) = element.to_f32(bytes);
        assert_eq!(beyond, None);
        converted.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }

    #[test]
    fn components_become_the_nearest_f32() {
        assert_eq!(floats(Element::I8, &[0x80, 0xff, 0, 127]), [-128.0, -1.0, 0.0, 127.0]);
        assert_eq!(floats(Element::U8, &[0, 128, 255]), [0.0, 128.0, 255.0]);
        let halves: Vec<u8> =
            [1.5_f32, -65504.0].iter().flat_map(|n| f16::from_f32(*n).to_le_bytes()).collect();
        assert_eq!(floats(Element::F16, &halves), [1.5, -65504.0]);
        let doubles: Vec<u8> = [0.1_f64, 1e-300, f64::from(f32::MAX), f64::NEG_INFINITY]
            .iter()
            .flat_map(|n| n.to_le_bytes())
            .collect();
        assert_eq!(floats(Element::F64, &doubles), [0.1, 0.0, f32::MAX, f32::NEG_INFINITY]);
    }

    #[test]
    fn what_f32_cannot_hold_is_named() {
        let doubles = [1.0, -1e39, 1e39].map(f64::to_le_bytes).concat();
        let floats_of = [1.0, f32::NEG_INFINITY, f32::INFINITY].map(f32::to_le_bytes).concat();
        assert_eq!(Element::F64.to_f32(&doubles), (floats_of, Some(1)));
        assert!(floats(Element::F64, &f64::NAN.to_le_bytes())[0].is_nan());
    }
}
