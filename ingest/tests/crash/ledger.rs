//! What clients know of the vectors that they sent, and the comparison with the log.

use std::collections::BTreeMap;
use std::path::Path;

use slipring_ingest::sink::for_each_rows;
use slipring_ingest::vectors::VectorRows;

/// The upper half of an id is the run that sent the vector, the lower half the vector's number.
pub const RUN_SHIFT: u32 = 32;
pub const DIM: u32 = 4;

/// The vectors of one client, or of one process with several connections.
#[derive(Debug)]
pub struct Run {
    /// Connections, whose vectors have their numbers in turn.
    pub connections: u64,
    /// Vectors that answers said to be stored.
    pub acked: u64,
    /// Vectors that were sent; None where nobody knows.
    pub sent: Option<u64>,
    /// What the vectors are.
    pub vectors: RunVectors,
    /// Lane and row that the answers gave the first vectors, one by one, whatever an answer meant.
    pub named: Vec<(u16, u64)>,
}

#[derive(Debug)]
pub enum RunVectors {
    /// Those of a load with this seed, on one connection.
    Generated(u64),
    /// Those of a load with several connections: only their ids are known.
    Several,
    /// [`components`] of the id.
    OfId,
}

/// A vector from which its id can be read, exactly.
pub fn components(id: u64) -> [f32; DIM as usize] {
    [0, 16, 32, 48].map(|shift| f32::from((id >> shift) as u16))
}

/// All runs on a data folder.
#[derive(Debug, Default)]
pub struct Ledger {
    pub runs: Vec<Run>,
}

impl Ledger {
    /// The least id of the next run.
    pub fn next_id(&self, after: u64) -> u64 {
        (self.runs.len() as u64 + after) << RUN_SHIFT
    }

    /// Vectors that answers said to be stored.
    pub fn acked(&self) -> u64 {
        self.runs.iter().map(|run| run.acked).sum()
    }

    /// Compares the log with the runs. Every connection's vectors are there once, in order, without
    /// a hole, from its first one to one that was sent; those that were acknowledged are among
    /// them. Nobody's vector is there, every component is the one that was sent, and a row that an
    /// answer named is that vector or none: no sequence is given twice. The reader checks that the
    /// sequences of a lane grow. Returns how many vectors are there.
    #[track_caller]
    pub fn check(&self, data: &Path, when: &str) -> u64 {
        let mut found: Vec<Vec<u64>> =
            self.runs.iter().map(|run| vec![0; run.connections as usize]).collect();
        let mut named = BTreeMap::new();
        for (run, id) in self.runs.iter().zip((0u64..).map(|run| run << RUN_SHIFT)) {
            named.extend(run.named.iter().zip(id..).map(|(row, id)| (*row, id)));
        }
        let generated = self.generated();
        let read = for_each_rows(data, |lane, rows| {
            let vectors = rows.values.chunks_exact(DIM as usize);
            for ((sequence, id), vector) in rows.sequences.iter().zip(&rows.ids).zip(vectors) {
                let at = format_args!("{when}: lane {lane}, row {sequence}, id {id:#x}");
                let (run, number) = ((id >> RUN_SHIFT) as usize, *id as u32 as u64);
                let sent = self.runs.get(run).unwrap_or_else(|| panic!("{at}: nobody sent it"));
                let next = &mut found[run][(number % sent.connections) as usize];
                assert_eq!(number / sent.connections, *next, "{at}: twice, or one is missing");
                *next += 1;
                let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
                match sent.vectors {
                    RunVectors::Generated(seed) => {
                        let rows = &generated[&seed];
                        let row = number as usize % rows.count();
                        let row_bytes = DIM as usize * 4;
                        let expected = &rows.bytes()[row * row_bytes..][..row_bytes];
                        assert_eq!(bytes, expected, "{at}: another vector");
                    }
                    RunVectors::OfId => assert_eq!(vector, components(*id), "{at}"),
                    RunVectors::Several => {}
                }
                let other = named.get(&(lane as u16, *sequence)).filter(|named| *named != id);
                assert_eq!(other, None, "{at}: an answer gave this row to another vector");
            }
        });
        let summary = read.unwrap_or_else(|error| panic!("{when}: {error}"));
        for (run, (sent, found)) in self.runs.iter().zip(&found).enumerate() {
            let there: u64 = found.iter().sum();
            assert!(
                there >= sent.acked,
                "{when}: run {run}: {} vectors were acknowledged as stored, {there} are there",
                sent.acked
            );
            assert!(sent.sent.is_none_or(|sent| there <= sent), "{when}: run {run}: {there}");
        }
        summary.rows
    }

    fn generated(&self) -> BTreeMap<u64, VectorRows> {
        let seeds = self.runs.iter().filter_map(|run| match run.vectors {
            RunVectors::Generated(seed) => Some(seed),
            _ => None,
        });
        seeds.map(|seed| (seed, VectorRows::generated(DIM, seed))).collect()
    }
}
