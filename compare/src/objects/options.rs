//! The options of a run of `objects`, and those that a variant's process receives.

use std::num::NonZero;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::choice::Choice;
use crate::payload::Size;

/// Objects fetched whole: with pooled buffers, without, and with object_store alone; one process
/// per variant.
#[derive(Args, Clone)]
pub struct Options {
    #[command(flatten)]
    pub choice: Choice,
    #[command(flatten)]
    pub plan: Plan,
    /// Objects that are measured, after the warm-up [default: 100; with --quick, the value of
    /// --parallel]
    #[arg(long)]
    pub objects: Option<NonZero<usize>>,
    /// A server with S3's interface to measure against, instead of the built-in one, a local
    /// folder and memory; credentials and region come from the environment (AWS_ACCESS_KEY_ID,
    /// ...)
    #[arg(long)]
    pub endpoint: Option<String>,
    /// The bucket of that server; objects are written to it
    #[arg(long, default_value = super::corpus::BUCKET, requires = "endpoint")]
    pub bucket: String,
    /// The name of that server in the case's name
    #[arg(long, default_value = "endpoint", requires = "endpoint")]
    pub server: String,
}

/// How much is fetched, and in which pieces: the same for every contender.
#[derive(Args, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Bytes of an object, as 64MiB
    #[arg(long, default_value = "64MiB", value_parser = size)]
    pub object_size: usize,
    /// Bytes of a range, as 8MiB
    #[arg(long, default_value = "8MiB", value_parser = size)]
    pub part_size: usize,
    /// Objects fetched concurrently, each by its own task; the warm-up fetches as many
    #[arg(long, default_value = "32")]
    pub parallel: NonZero<usize>,
    /// Requests in flight, over all objects, of contenders that split objects
    #[arg(long, default_value = "32")]
    pub concurrency: NonZero<usize>,
}

/// Where a case gets its objects from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Source {
    /// The built-in server, by S3's interface over a socket.
    S3,
    /// The store of object_store in the client's memory. A get there copies nothing: it takes a
    /// reference.
    Memory,
    /// Files of a folder whose pages are in memory.
    File,
    /// A server that this program doesn't start.
    Endpoint,
}

impl Source {
    /// The sources that need no other server.
    pub const OWN: [Self; 3] = [Self::S3, Self::Memory, Self::File];

    pub fn name(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Memory => "memory",
            Self::File => "file",
            Self::Endpoint => "endpoint",
        }
    }

    /// The case's name: `s3-64MiB-x32`.
    pub fn case(self, server: &str, plan: &Plan) -> String {
        let name = if self == Self::Endpoint { server } else { self.name() };
        format!("{name}-{}-x{}", Size(plan.object_size), plan.parallel)
    }
}

/// The options of a variant's process, all on its command line.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    #[command(flatten)]
    pub plan: Plan,
    #[arg(long)]
    pub contender: String,
    #[arg(long)]
    pub objects: NonZero<usize>,
    #[arg(long)]
    pub source: Source,
    /// The server's URL, if the source is a server
    #[arg(long)]
    pub endpoint: Option<String>,
    #[arg(long)]
    pub bucket: String,
    /// The parent of the bucket's folder, if the source is a folder
    #[arg(long)]
    pub folder: Option<PathBuf>,
    /// Checksums of the distinct objects, in their order
    #[arg(long, value_delimiter = ',')]
    pub checksums: Vec<u32>,
    /// The server's process, whose processor time is measured
    #[arg(long)]
    pub server_process: Option<u32>,
}

impl Variant {
    /// The command line that parses to this value.
    pub fn arguments(&self) -> Vec<String> {
        let checksums: Vec<String> = self.checksums.iter().map(u32::to_string).collect();
        let plan = &self.plan;
        let folder = self.folder.as_ref().map(|folder| folder.display().to_string());
        let pairs = [
            ("object-size", Some(plan.object_size.to_string())),
            ("part-size", Some(plan.part_size.to_string())),
            ("parallel", Some(plan.parallel.to_string())),
            ("concurrency", Some(plan.concurrency.to_string())),
            ("contender", Some(self.contender.clone())),
            ("objects", Some(self.objects.to_string())),
            ("source", Some(self.source.name().to_owned())),
            ("endpoint", self.endpoint.clone()),
            ("bucket", Some(self.bucket.clone())),
            ("folder", folder),
            ("checksums", Some(checksums.join(","))),
            ("server-process", self.server_process.map(|process| process.to_string())),
        ];
        pairs.into_iter().filter_map(|(name, value)| Some(format!("--{name}={}", value?))).collect()
    }
}

/// A number of bytes, or a number with its unit: at least one byte, at most 1 TiB.
fn size(text: &str) -> Result<usize, String> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("B", 0), ("", 0)];
    let of_unit = |(unit, shift): &(&str, u32)| {
        text.strip_suffix(unit)?.parse::<usize>().ok()?.checked_mul(1 << shift)
    };
    let bytes = units.iter().find_map(of_unit).filter(|bytes| (1..=1 << 40).contains(bytes));
    bytes.ok_or_else(|| {
        format!(
            "`{text}` is no size: write a number of bytes, or a number with KiB, MiB or GiB, from 1 B to 1024 GiB"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        variant: Variant,
    }

    #[test]
    fn a_variant_comes_back_from_its_command_line() {
        let count = |number| NonZero::new(number).unwrap();
        let plan = Plan {
            object_size: 5 << 20,
            part_size: 1 << 20,
            parallel: count(2),
            concurrency: count(3),
        };
        let mut variant = Variant {
            plan,
            contender: "slipring".to_owned(),
            objects: count(7),
            source: Source::S3,
            endpoint: Some("http://127.0.0.1:1".to_owned()),
            bucket: "b".to_owned(),
            folder: Some(PathBuf::from("/a b/-c")),
            checksums: vec![0, u32::MAX],
            server_process: Some(9),
        };
        let back = |variant: &Variant| {
            Line::parse_from([vec!["x".to_owned()], variant.arguments()].concat()).variant
        };
        assert_eq!(back(&variant), variant);
        (variant.endpoint, variant.folder, variant.server_process) = (None, None, None);
        assert_eq!(back(&variant), variant);
    }

    #[test]
    fn sizes_have_units_and_bounds() {
        let read = |text| size(text).ok();
        assert_eq!(
            ["64MiB", "1KiB", "2GiB", "7B", "7"].map(read),
            [64 << 20, 1 << 10, 2 << 30, 7, 7].map(Some)
        );
        for wrong in [
            "",
            "0",
            "0MiB",
            "MiB",
            "-1",
            "1.5MiB",
            "64MB",
            "1025GiB",
            "99999999999999999999",
            "34359738368GiB",
        ] {
            assert!(
                size(wrong).is_err_and(|error| error.contains(&format!("`{wrong}`"))),
                "{wrong}"
            );
        }
    }
}
