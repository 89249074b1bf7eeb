//! Instructions per request in the service. `scripts/callgrind` runs this and compares the counts
//! with benches/instructions/limits.toml.
#![allow(missing_docs, reason = "gungraun's macros make modules and functions without")]

use std::hint::black_box;

use gungraun::{library_benchmark, library_benchmark_group, main};
use slipring_ingest::wire::frames::Mode;
use slipring_requests::{BATCH, Service};

/// Requests of a benchmark. The script reads this number from here.
const OPERATIONS: usize = 4096;

#[library_benchmark]
#[bench::v1(args = (Mode::Count, 1), setup = Service::new)]
#[bench::v8(args = (Mode::Count, 8), setup = Service::new)]
#[bench::header1_v1(args = (Mode::Header1, 1), setup = Service::new)]
#[bench::header1_v8(args = (Mode::Header1, 8), setup = Service::new)]
#[bench::header_v1(args = (Mode::Header, 1), setup = Service::new)]
#[bench::header_v8(args = (Mode::Header, 8), setup = Service::new)]
fn request(mut service: Service) -> Service {
    service.batches(black_box(OPERATIONS / BATCH));
    service
}

library_benchmark_group!(name = service, benchmarks = [request]);

main!(library_benchmark_groups = service);
