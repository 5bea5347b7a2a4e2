//! Bugs planted on purpose, to see that the simulation notices. Most live here, in what joins the broker to its
//! fake disk; those that only production code can make are switches behind its cargo feature `sabotage`.

/// One bug.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sabotage {
    AckBeforeFlush,
    CommitOutOfOrder,
    FlushSkipped,
    WriteErrorIgnored,
    HorizonLost,
    NodeStartedLost,
    SettleLost,
    OffsetCommitLost,
    ReplayFromTooLate,
    RecycledTooEarly,
    BlockAppliedTwice,
    WakeUpLost,
    ChecksumUnread,
    TailNotCut,
    RequeueAtTheEnd,
    RetryAppended,
    TransferTwice,
    SettledBeforeArrival,
    DuplicatesForgotten,
    DelaysForgotten,
    LivesForEver,
    BatchSplit,
    MarkedEarly,
    DecisionForgotten,
    OldEpochTaken,
    OldConnectionHeard,
    AbortedOffsetsKept,
    LateBatchTaken,
    GonePartitionAwaited,
    CommittedCompacted,
    EndAnsweredEarly,
}

/// Name for the command line, and what is broken.
pub const ALL: &[(Sabotage, &str, &str)] = &[
    (Sabotage::AckBeforeFlush, "ack-before-flush", "blocks commit when they are queued for the disk"),
    (
        Sabotage::CommitOutOfOrder,
        "commit-out-of-order",
        "a write commits although an earlier one is not done",
    ),
    (Sabotage::FlushSkipped, "flush-skipped", "durable writes stay in the operating system"),
    (Sabotage::WriteErrorIgnored, "write-error-ignored", "failed durable writes are taken for done"),
    (Sabotage::HorizonLost, "horizon-lost", "Horizon records do not reach the disk"),
    (Sabotage::NodeStartedLost, "node-started-lost", "a start goes unrecorded"),
    (Sabotage::SettleLost, "settle-lost", "Settle records do not reach the disk"),
    (Sabotage::OffsetCommitLost, "offset-commit-lost", "OffsetCommit records do not reach the disk"),
    (
        Sabotage::ReplayFromTooLate,
        "replay-from-too-late",
        "a checkpoint names the end of the log as the place to replay from",
    ),
    (
        Sabotage::RecycledTooEarly,
        "recycled-too-early",
        "a checkpoint forgets segments that queues and partitions need",
    ),
    (Sabotage::BlockAppliedTwice, "block-applied-twice", "replay repeats the last block"),
    (Sabotage::WakeUpLost, "wake-up-lost", "nobody is woken when a read is done"),
    (Sabotage::ChecksumUnread, "checksum-unread", "storage does not check payload checksums"),
    (Sabotage::TailNotCut, "tail-not-cut", "recovery takes blocks that do not follow the one before"),
    (Sabotage::RequeueAtTheEnd, "requeue-at-the-end", "returned messages go behind all others that returned"),
    (Sabotage::RetryAppended, "retry-appended", "an idempotent producer's retry is appended again"),
    (Sabotage::TransferTwice, "transfer-twice", "a shard takes a dead letter that it has already again"),
    (
        Sabotage::SettledBeforeArrival,
        "settled-before-arrival",
        "a dead letter for another shard ends before it is safe there",
    ),
    (Sabotage::DuplicatesForgotten, "duplicates-forgotten", "a start forgets the ids that were seen"),
    (Sabotage::DelaysForgotten, "delays-forgotten", "a start forgets what has to wait"),
    (Sabotage::LivesForEver, "lives-for-ever", "messages do not expire"),
    (Sabotage::BatchSplit, "batch-split", "what was published together goes into two blocks"),
    (
        Sabotage::MarkedEarly,
        "marked-early",
        "other shards are told how a transaction ends before that is durable",
    ),
    (
        Sabotage::DecisionForgotten,
        "decision-forgotten",
        "a start does not go on with a transaction's end that was decided",
    ),
    (
        Sabotage::OldEpochTaken,
        "old-epoch-taken",
        "a batch of an earlier epoch is taken into the producer's open transaction",
    ),
    (
        Sabotage::OldConnectionHeard,
        "old-connection-heard",
        "producers without an epoch for each transaction are heard on their old connections too",
    ),
    (Sabotage::AbortedOffsetsKept, "aborted-offsets-kept", "offsets of aborted transactions count"),
    (Sabotage::LateBatchTaken, "late-batch-taken", "a batch is taken though its transaction is over"),
    (
        Sabotage::GonePartitionAwaited,
        "gone-partition-awaited",
        "a transaction's end waits for partitions that were deleted",
    ),
    (
        Sabotage::CommittedCompacted,
        "committed-compacted",
        "compaction removes what follows an aborted transaction of the producer with it",
    ),
    (
        Sabotage::EndAnsweredEarly,
        "end-answered-early",
        "who ends a transaction is answered before that is durable",
    ),
];

impl Sabotage {
    pub fn named(name: &str) -> Option<Sabotage> {
        ALL.iter().find(|(_, n, _)| *n == name).map(|(sabotage, _, _)| *sabotage)
    }

    pub fn name(self) -> &'static str {
        ALL.iter().find(|(s, _, _)| *s == self).map_or("", |(_, name, _)| name)
    }

    /// Sets the switches in the broker. They are of the process: all seeds of a run are sabotaged alike.
    ///
    /// # Panics
    /// If the switch that is needed was not built in.
    pub fn plant(planted: Option<Sabotage>) {
        #[cfg(feature = "sabotage")]
        for (sabotage, switch) in [
            (Sabotage::ChecksumUnread, &bowline_storage::sabotage::CHECKSUM_UNREAD),
            (Sabotage::TailNotCut, &bowline_storage::sabotage::TAIL_NOT_CUT),
            (Sabotage::BlockAppliedTwice, &bowline_broker::sabotage::BLOCK_APPLIED_TWICE),
            (Sabotage::RequeueAtTheEnd, &bowline_broker::sabotage::REQUEUE_AT_THE_END),
            (Sabotage::RetryAppended, &bowline_stream::sabotage::RETRY_APPENDED),
            (Sabotage::TransferTwice, &bowline_broker::sabotage::TRANSFER_TWICE),
            (Sabotage::DuplicatesForgotten, &bowline_broker::sabotage::DUPLICATES_FORGOTTEN),
            (Sabotage::DelaysForgotten, &bowline_broker::sabotage::DELAYS_FORGOTTEN),
            (Sabotage::LivesForEver, &bowline_broker::sabotage::LIVES_FOR_EVER),
            (Sabotage::BatchSplit, &bowline_broker::sabotage::BATCH_SPLIT),
            (Sabotage::MarkedEarly, &bowline_stream::sabotage::MARKED_EARLY),
            (Sabotage::DecisionForgotten, &bowline_stream::sabotage::DECISION_FORGOTTEN),
            (Sabotage::OldEpochTaken, &bowline_stream::sabotage::OLD_EPOCH_TAKEN),
            (Sabotage::OldConnectionHeard, &bowline_stream::sabotage::OLD_CONNECTION_HEARD),
            (Sabotage::AbortedOffsetsKept, &bowline_stream::sabotage::ABORTED_OFFSETS_KEPT),
            (Sabotage::LateBatchTaken, &bowline_stream::sabotage::LATE_BATCH_TAKEN),
            (Sabotage::EndAnsweredEarly, &bowline_stream::sabotage::END_ANSWERED_EARLY),
            (Sabotage::CommittedCompacted, &bowline_stream::sabotage::COMMITTED_COMPACTED),
            (Sabotage::GonePartitionAwaited, &bowline_broker::sabotage::GONE_PARTITION_AWAITED),
        ] {
            switch.store(planted == Some(sabotage), std::sync::atomic::Ordering::Relaxed);
        }
        #[cfg(not(feature = "sabotage"))]
        assert!(!planted.is_some_and(Sabotage::is_within), "this sabotage needs the feature of that name");
    }

    /// Needs the broker to be built with its switches.
    pub fn is_within(self) -> bool {
        matches!(
            self,
            Sabotage::ChecksumUnread
                | Sabotage::TailNotCut
                | Sabotage::BlockAppliedTwice
                | Sabotage::RequeueAtTheEnd
                | Sabotage::RetryAppended
                | Sabotage::TransferTwice
                | Sabotage::DuplicatesForgotten
                | Sabotage::DelaysForgotten
                | Sabotage::LivesForEver
                | Sabotage::BatchSplit
                | Sabotage::MarkedEarly
                | Sabotage::DecisionForgotten
                | Sabotage::OldEpochTaken
                | Sabotage::OldConnectionHeard
                | Sabotage::AbortedOffsetsKept
                | Sabotage::LateBatchTaken
                | Sabotage::GonePartitionAwaited
                | Sabotage::CommittedCompacted
                | Sabotage::EndAnsweredEarly
        )
    }
}
