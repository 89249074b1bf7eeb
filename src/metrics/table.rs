//! Every metric, in one place: name, type, unit, help, and where its figure is read.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use crate::class::{ClassStats, DirectStats};
#[cfg(feature = "pipeline")]
use crate::pipeline::{LaneStats, StageStats};
use crate::queue::QueueStats;

/// How a metric's figure moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It only grows, except for resets to zero.
    Counter,
    /// It grows and shrinks.
    Gauge,
}

impl From<Kind> for MetricType {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
        }
    }
}

/// One metric of a snapshot `S`. The unit and a counter's `_total` are added to the name.
#[derive(Debug)]
pub(super) struct Metric<S> {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Its unit is bytes. Otherwise it is a count.
    pub(super) is_bytes: bool,
    pub(super) help: &'static str,
    pub(super) read: fn(&S) -> u64,
}

impl<S> Metric<S> {
    /// Encodes the metric's head, and one sample per set of labels.
    pub(super) fn encode<L: EncodeLabelSet>(
        &self,
        encoder: &mut DescriptorEncoder,
        samples: impl Iterator<Item = (L, S)>,
    ) -> fmt::Result {
        let unit = self.is_bytes.then_some(&Unit::Bytes);
        let mut family = encoder.encode_descriptor(self.name, self.help, unit, self.kind.into())?;
        for (labels, stats) in samples {
            let mut sample = family.encode_family(&labels)?;
            let value = (self.read)(&stats);
            match self.kind {
                Kind::Counter => {
                    sample.encode_counter::<[(&str, &str); 0], _, u64>(&value, None)?
                }
                Kind::Gauge => sample.encode_gauge(&value)?,
            }
        }
        Ok(())
    }
}

const fn counter<S>(name: &'static str, help: &'static str, read: fn(&S) -> u64) -> Metric<S> {
    metric(name, Kind::Counter, help, read)
}

const fn gauge<S>(name: &'static str, help: &'static str, read: fn(&S) -> u64) -> Metric<S> {
    metric(name, Kind::Gauge, help, read)
}

const fn metric<S>(
    name: &'static str,
    kind: Kind,
    help: &'static str,
    read: fn(&S) -> u64,
) -> Metric<S> {
    let help_bytes = help.as_bytes();
    let is_ours =
        matches!(name.as_bytes(), [b's', b'l', b'i', b'p', b'r', b'i', b'n', b'g', b'_', _, ..]);
    assert!(is_ours, "a metric of ours has our prefix");
    assert!(
        !help_bytes.is_empty() && help_bytes[help_bytes.len() - 1] != b'.',
        "a help has no full stop at its end"
    );
    Metric { name, kind, is_bytes: false, help, read }
}

const fn bytes<S>(metric: Metric<S>) -> Metric<S> {
    assert!(!metric.is_bytes, "a unit is given once");
    Metric { is_bytes: true, ..metric }
}

/// The metrics of a class, by pool and class.
pub(super) const CLASS: &[Metric<ClassStats>] = &[
    counter("slipring_class_gets", "Buffers got, fresh ones at the limit included", |class| {
        class.gets
    }),
    counter("slipring_class_puts", "Buffers dropped", |class| class.puts),
    counter("slipring_class_hits", "Gets that found a buffer with pages", |class| class.hits),
    counter(
        "slipring_class_misses",
        "Gets of a buffer that was new or had given its pages back",
        |class| class.misses,
    ),
    counter("slipring_class_fresh", "Fresh direct buffers at the limit", |class| class.fresh),
    counter("slipring_class_waits", "Gets that had to wait at the limit", |class| class.waits),
    counter("slipring_class_refusals", "Gets that were refused at the limit", |class| {
        class.refusals
    }),
    counter("slipring_class_shrunk", "Buffers that gave their pages back", |class| class.shrunk),
    bytes(counter("slipring_class_reused", "Bytes of hits, in whole buffers", |class| {
        class.reused_bytes
    })),
    bytes(counter("slipring_class_allocated", "Bytes of misses, in whole buffers", |class| {
        class.allocated_bytes
    })),
    gauge("slipring_class_in_use_buffers", "Buffers in use", |class| class.in_use),
    gauge("slipring_class_resident_buffers", "Buffers with pages, in use or not", |class| {
        class.resident
    }),
    bytes(gauge("slipring_class_resident", "Bytes of buffers with pages", |class| {
        class.resident_bytes
    })),
    gauge("slipring_class_waiting", "Gets that wait at the limit now", |class| class.waiting),
    gauge(
        "slipring_class_limit_buffers",
        "Buffers that the class may have, 2^64-1 for no limit",
        |class| class.buffers_max,
    ),
];

/// The metrics of direct buffers, by pool.
pub(super) const DIRECT: &[Metric<DirectStats>] = &[
    counter(
        "slipring_direct_gets",
        "Direct buffers allocated: too large for a class, or fresh at a limit",
        |direct| direct.gets,
    ),
    counter("slipring_direct_puts", "Direct buffers freed", |direct| direct.puts),
    bytes(counter("slipring_direct_allocated", "Bytes asked for of direct buffers", |direct| {
        direct.bytes
    })),
    gauge("slipring_direct_in_use_buffers", "Direct buffers in use", |direct| direct.in_use),
];

/// The metrics of a receive queue, by queue.
pub(super) const QUEUE: &[Metric<QueueStats>] = &[
    gauge("slipring_queue_messages", "Messages in the queue", |queue| queue.queued_messages),
    bytes(gauge("slipring_queue", "Bytes of the messages in the queue", |queue| {
        queue.queued_bytes
    })),
    gauge("slipring_queue_most_messages", "The most messages that were seen queued", |queue| {
        queue.most_messages
    }),
    bytes(gauge("slipring_queue_most", "The most bytes that were seen queued", |queue| {
        queue.most_bytes
    })),
    counter("slipring_queue_enqueued_messages", "Messages that went in", |queue| {
        queue.enqueued_messages
    }),
    bytes(counter("slipring_queue_enqueued", "Bytes that went in", |queue| queue.enqueued_bytes)),
    counter("slipring_queue_dequeued_messages", "Messages that came out", |queue| {
        queue.dequeued_messages
    }),
    bytes(counter("slipring_queue_dequeued", "Bytes that came out", |queue| queue.dequeued_bytes)),
    counter("slipring_queue_enqueue_waits", "Waits for room", |queue| queue.enqueue_waits),
    counter("slipring_queue_dequeue_waits", "Waits for a message", |queue| queue.dequeue_waits),
    counter(
        "slipring_queue_wakes_lost",
        "Waits that timed out although there was something to do: a defect",
        |queue| queue.wakes_lost,
    ),
];

/// The metrics of a lane, by lane.
#[cfg(feature = "pipeline")]
pub(super) const LANE: &[Metric<LaneStats>] = &[
    gauge("slipring_lane_slots", "Slots of the ring", |lane| lane.slots as u64),
    gauge("slipring_lane_in_use_slots", "Slots in use, pushed ones included", |lane| {
        lane.slots_in_use as u64
    }),
    counter("slipring_lane_published_events", "Events that were published", |lane| lane.published),
    counter("slipring_lane_reclaimed_events", "Events that were reclaimed", |lane| lane.reclaimed),
    counter(
        "slipring_lane_ring_refusals",
        "Claims and pushes refused because the ring was full",
        |lane| lane.refused_ring,
    ),
    bytes(gauge("slipring_lane_pool", "Bytes of the pool", |lane| lane.pool.pool_bytes as u64)),
    bytes(gauge("slipring_lane_chunk", "Bytes of a chunk of the pool", |lane| {
        lane.pool.chunk_bytes as u64
    })),
    bytes(gauge("slipring_lane_window", "Bytes of the pool in rotation", |lane| {
        lane.pool.window_bytes as u64
    })),
    bytes(gauge("slipring_lane_in_use", "Bytes of the chunks in use", |lane| {
        lane.pool.in_use_bytes as u64
    })),
    bytes(gauge(
        "slipring_lane_high_water",
        "The most bytes of chunks in use when one was closed",
        |lane| lane.pool.high_water_bytes as u64,
    )),
    gauge(
        "slipring_lane_chunks_blocked_by_sequence",
        "Chunks that wait for the release of a slot",
        |lane| u64::from(lane.pool.blocked_by_sequence),
    ),
    gauge(
        "slipring_lane_chunks_blocked_by_owner",
        "Chunks that wait for a slice, token or receive of the owner",
        |lane| u64::from(lane.pool.blocked_by_owner),
    ),
    gauge(
        "slipring_lane_chunks_blocked_by_pins",
        "Chunks that wait for a retained handle",
        |lane| u64::from(lane.pool.blocked_by_pins),
    ),
    gauge("slipring_lane_pinned_chunks", "Chunks that retained handles pin", |lane| {
        u64::from(lane.pool.pinned_chunks)
    }),
    counter("slipring_lane_released_events", "Events whose memory was released", |lane| {
        (lane.pool.released + 1).max(0) as u64
    }),
    bytes(counter("slipring_lane_tail_waste", "Bytes given up at the end of chunks", |lane| {
        lane.pool.tail_waste_bytes
    })),
    counter(
        "slipring_lane_pool_refusals",
        "Allocations refused because no chunk was free",
        |lane| lane.pool.refused_pool,
    ),
    counter("slipring_lane_too_large", "Allocations refused because they were too large", |lane| {
        lane.pool.refused_too_large
    }),
];

/// The metrics of a stage, by lane and stage.
#[cfg(feature = "pipeline")]
pub(super) const STAGE: &[Metric<StageStats>] = &[
    counter("slipring_stage_released_events", "Events that the stage has released", |stage| {
        (stage.released + 1) as u64
    }),
    gauge("slipring_stage_behind_events", "Events that the stage could process now", |stage| {
        stage.behind
    }),
    gauge(
        "slipring_stage_holding",
        "1 while the stage holds events that it has read ahead",
        |stage| u64::from(stage.held_from.is_some()),
    ),
    gauge(
        "slipring_stage_ended",
        "1 once the stage has processed every event of a closed lane",
        |stage| u64::from(stage.ended),
    ),
    gauge("slipring_stage_dead", "1 once the stage is dead or was left by its lane", |stage| {
        u64::from(stage.died_at.is_some())
    }),
    counter("slipring_stage_rejected_events", "Events that the stage rejected", |stage| {
        stage.rejected
    }),
    counter(
        "slipring_stage_wakes_lost",
        "Sleeps that timed out although there was something to do: a defect",
        |stage| stage.wakes_lost,
    ),
];
