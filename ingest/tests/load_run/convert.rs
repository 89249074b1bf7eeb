//! `--file` with components of other types: refused, and sent as f32 with `--convert`.

use std::process::Command;

use slipring_ingest::load::{LoadError, LoadOptions, VectorRange, run};

use super::server::{Conduct, LIMITS, start};
use super::{free_path, options};

/// A `.npy` image of rows of four components of this type.
fn image(descr: &str, rows: usize, components: &[u8]) -> Vec<u8> {
    let header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({rows}, 4), }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.bytes());
    bytes.extend(components);
    bytes
}

#[test]
fn other_types_are_sent_as_f32_on_request_only() {
    let numbers = || 0..20_u8;
    let images = [
        ("<f8", numbers().flat_map(|n| f64::from(n).to_le_bytes()).collect::<Vec<u8>>()),
        ("<f2", numbers().flat_map(|n| half::f16::from_f32(n.into()).to_le_bytes()).collect()),
        ("|i1", numbers().map(|n| n.wrapping_sub(10)).collect()),
        ("|u1", numbers().collect()),
    ];
    for (descr, components) in images {
        let path = free_path(&format!("{}.npy", &descr[1..]));
        std::fs::write(&path, image(descr, 5, &components)).unwrap();
        let (to, seen) = start(Conduct::Right, LIMITS);
        let vectors = VectorRange { least: 2, most: 2 };
        let (count, file) = (Some(35), Some(path.clone()));
        let plain = LoadOptions { vectors, count, file, ..options(to) };
        let error = run(&plain).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(&format!("'{descr}'")) && text.contains("let --convert do"),
            "{text}"
        );
        assert_eq!((error.exit_code(), seen.lock().unwrap().connections), (2, 0));

        let report = run(&LoadOptions { convert: true, ..plain }).unwrap();
        // Each of the five rows is sent 14 times.
        let sum = if descr == "|i1" { 14.0 * -10.0 } else { 14.0 * 190.0 };
        assert_eq!((report.accepted.vectors, report.accepted.sum), (70, sum), "{descr}");
        assert_eq!((report.vectors_verified, seen.lock().unwrap().sum), (70, sum), "{descr}");
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn what_f32_cannot_hold_is_named_before_anything_is_sent() {
    let components = [1.0_f64, 2.0, 3.0, 4.0, 5.0, 6.0, 1e39, 8.0].map(f64::to_le_bytes).concat();
    let path = free_path("range.npy");
    std::fs::write(&path, image("<f8", 2, &components)).unwrap();
    let (to, seen) = start(Conduct::Right, LIMITS);
    let error =
        run(&LoadOptions { convert: true, file: Some(path.clone()), ..options(to.clone()) });
    let error = error.unwrap_err().error;
    assert!(matches!(error, LoadError::File { .. }) && error.exit_code() == 2, "{error}");
    assert!(error.to_string().contains("row 1 holds a component beyond the range"), "{error}");
    assert_eq!(seen.lock().unwrap().connections, 0);

    // The words of the command line; without a file there is nothing to convert.
    let load = |words: &str| {
        let line = format!("load --to {to} --dim 4 --count 1 {words}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_slipring"));
        let output = command.args(line.split_whitespace()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, text) = load("--convert");
    assert!(code == Some(2) && text.contains("--file <FILE>"), "{text}");
    let (code, text) = load(&format!("--convert --file {}", path.display()));
    assert!(code == Some(2) && text.contains("row 1 holds"), "{text}");
    std::fs::remove_file(path).unwrap();
}
