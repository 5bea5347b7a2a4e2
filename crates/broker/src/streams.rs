//! Joins `bowline-stream` to the shard: its proposals go into the open block, its replies among the effects, and
//! fetches that need blocks from the disk are parked until those have come.

use crate::cache::{Cache, Reader};
use crate::effects::{DeadRecord, Effects, Receipt, TxnStep, Unkeyed};
use crate::proposal::{Proposals, Provisioned, Urgency, Waits};
use bowline_model::event::{Event, MetaEvent};
use bowline_model::record::{self, Kind};
use bowline_model::request::{Fetch, FetchPartition, OffsetQuery, PartitionSpec};
use bowline_model::{PartitionId, SessionId, Token};
use bowline_stream::partition::OffsetsSearch;
use bowline_stream::share::{Dead, KeysWanted};
use bowline_stream::txn::Send;
use bowline_stream::{FetchOutcome, OffsetsOutcome, Options, Out, Read, Stream};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug)]
pub(crate) struct Streams {
    pub stream: Stream,
    pub out: Out,
    parked: BTreeMap<u64, Parked>,
    next_parked: u64,
}

/// Waits for blocks.
#[derive(Debug)]
struct Parked {
    session: SessionId,
    reads_left: usize,
    what: What,
}

#[derive(Debug)]
enum What {
    Fetch(Fetch),
    Offsets {
        token: Token,
        search: OffsetsSearch,
    },
    /// To be given to the router. It is nobody's request, and no session's end ends it.
    Dead(Dead),
    /// The same, for who looks up keys.
    Keys(KeysWanted),
}

impl What {
    fn is_nobodys(&self) -> bool {
        matches!(self, What::Dead(_) | What::Keys(_))
    }
}

impl Streams {
    pub fn new(options: Options) -> Streams {
        Streams { stream: Stream::new(options), out: Out::default(), parked: BTreeMap::new(), next_parked: 0 }
    }

    pub fn fetch(&mut self, session: SessionId, fetch: Fetch, cache: &mut Cache, fx: &mut Effects) {
        self.serve(session, What::Fetch(fetch), false, cache, fx);
    }

    pub fn list_offsets(
        &mut self,
        session: SessionId,
        token: Token,
        queries: Vec<(PartitionId, OffsetQuery)>,
        cache: &mut Cache,
        fx: &mut Effects,
    ) {
        let what = What::Offsets { token, search: OffsetsSearch::new(queries) };
        self.serve(session, what, false, cache, fx);
    }

    /// A read that parked request `number` waited for has been answered.
    pub fn loaded(&mut self, number: u64, cache: &mut Cache, fx: &mut Effects) {
        let Some(parked) = self.parked.get_mut(&number) else { return };
        parked.reads_left -= 1;
        if parked.reads_left == 0
            && let Some(Parked { session, what, .. }) = self.parked.remove(&number)
        {
            self.serve(session, what, true, cache, fx);
        }
    }

    pub fn close_session(&mut self, now: bowline_model::Millis, session: SessionId) {
        let stays = |parked: &Parked| parked.session != session || parked.what.is_nobodys();
        self.parked.retain(|_, parked| stays(parked));
        self.stream.close_session(now, session, &mut self.out);
    }

    pub fn urgency(&self) -> Urgency {
        if self.stream.shares.is_unlogged() { Urgency::Lazily } else { Urgency::Nothing }
    }

    /// A block is about to be sealed: what share groups have to tell the log comes along.
    pub fn tell_log(&mut self, proposals: &mut Proposals) {
        if self.stream.shares.is_unlogged() {
            self.stream.shares.tell_log(&mut self.out);
            self.hand_over(proposals);
        }
    }

    /// Creates or reconfigures a partition. Answered by `PartitionReady`.
    pub fn provision(&mut self, spec: &PartitionSpec, proposals: &mut Proposals, fx: &mut Effects) {
        if self.stream.partitions.spec(spec.partition) == Some(spec) {
            fx.meta.push(MetaEvent::PartitionReady { partition: spec.partition });
        } else {
            propose(Kind::PartitionCreate, spec, proposals, Provisioned::PartitionReady(spec.partition));
        }
    }

    /// Drops a partition. Answered by `PartitionDropped`.
    pub fn drop_partition(&mut self, id: PartitionId, proposals: &mut Proposals) {
        // Even if it is not here it may be under way; what the log says last holds.
        propose(Kind::PartitionDelete, &id, proposals, Provisioned::PartitionDropped(id));
    }

    /// Proposes what it takes for exactly `specs` to exist.
    pub fn reconcile(&mut self, specs: &[PartitionSpec], proposals: &mut Proposals) {
        let mut surplus: BTreeSet<PartitionId> = self.stream.partitions.ids().collect();
        for spec in specs {
            surplus.remove(&spec.partition);
            if self.stream.partitions.spec(spec.partition) != Some(spec) {
                propose(Kind::PartitionCreate, spec, proposals, Provisioned::Reconciled);
            }
        }
        for id in surplus {
            propose(Kind::PartitionDelete, &id, proposals, Provisioned::Reconciled);
        }
    }

    /// Carries on what the machines put out.
    pub fn flush(&mut self, cache: &mut Cache, proposals: &mut Proposals, fx: &mut Effects) {
        fx.events.append(&mut self.out.replies);
        self.hand_over(proposals);
        let own = self.stream.txns.place().shard;
        for Send { shard, records, count, ticket } in self.out.sends.drain(..) {
            let receipt = Receipt { shard: own, ticket };
            fx.txn_steps.push((shard, TxnStep { records, count, receipt }));
        }
        for dead in std::mem::take(&mut self.out.dead) {
            match dead.is_copied {
                true => self.serve(NOBODY, What::Dead(dead), false, cache, fx),
                false => fx.dead_records.push(DeadRecord { dead, batch: None }),
            }
        }
        for wanted in std::mem::take(&mut self.out.keys) {
            self.serve(NOBODY, What::Keys(wanted), false, cache, fx);
        }
    }

    pub fn hand_over(&mut self, proposals: &mut Proposals) {
        for proposal in self.out.propose.drain(..) {
            let waits = proposal.waiter.map(Waits::Stream);
            proposals.append(&proposal.records, proposal.count, proposal.urgent, waits);
        }
    }

    /// Answers from resident blocks, or parks the request until the blocks it lacks have been read.
    fn serve(
        &mut self,
        session: SessionId,
        mut what: What,
        retry: bool,
        cache: &mut Cache,
        fx: &mut Effects,
    ) {
        let partitions = &self.stream.partitions;
        let missing = match &mut what {
            What::Keys(wanted) => {
                let fetch = of_nobody(wanted.partition, wanted.from, KEYS_BYTES);
                match partitions.fetch(&fetch, retry, cache) {
                    FetchOutcome::Missing(reads) => reads,
                    FetchOutcome::Ready(mut found) => {
                        let found = found.pop().and_then(|found| found.result.ok());
                        let (batches, end) = match found {
                            Some(found) => (found.batches, found.high_watermark),
                            // What cannot be read keeps nothing in order, and does not come either.
                            None => (Vec::new(), 0),
                        };
                        let upto = end.max(wanted.from + 1);
                        return fx.unkeyed.push(Unkeyed { wanted: *wanted, batches, upto });
                    }
                }
            }
            What::Dead(dead) => {
                match partitions.fetch(&of_nobody(dead.partition, dead.offset, 1), retry, cache) {
                    FetchOutcome::Missing(reads) => reads,
                    FetchOutcome::Ready(mut found) => {
                        let found = found.pop().and_then(|found| found.result.ok());
                        let batch = found.and_then(|found| found.batches.into_iter().next());
                        if let What::Dead(dead) = what {
                            fx.dead_records.push(DeadRecord { dead, batch });
                        }
                        return;
                    }
                }
            }
            What::Fetch(fetch) => match partitions.fetch(fetch, retry, cache) {
                FetchOutcome::Missing(reads) => reads,
                FetchOutcome::Ready(found) => {
                    let ahead = partitions.read_ahead(&found, cache);
                    cache.read_ahead(ahead.into_iter().map(|read| (read.lsn, read.max_bytes)), fx);
                    return fx.event(session, Event::Fetched { token: fetch.token, partitions: found });
                }
            },
            What::Offsets { token, search } => match partitions.list_offsets(search, cache) {
                OffsetsOutcome::Missing(reads) => reads,
                OffsetsOutcome::Ready(results) => {
                    return fx.event(session, Event::Offsets { token: *token, results });
                }
            },
        };
        let number = self.next_parked;
        self.next_parked += 1;
        let asked = |read: &&Read| cache.want(Reader::Fetch(number), read.lsn, read.max_bytes, fx);
        let reads_left = missing.iter().filter(asked).count();
        debug_assert!(reads_left > 0, "something is missing");
        self.parked.insert(number, Parked { session, reads_left, what });
    }
}

/// Asks for what is no session's.
const NOBODY: SessionId = SessionId(0);

/// Read at a time to look up keys, bytes.
const KEYS_BYTES: u32 = 256 * 1024;

/// Asks for the batch of a record, and for others behind it if they are not too large.
fn of_nobody(partition: PartitionId, offset: u64, max_bytes: u32) -> Fetch {
    let wanted = FetchPartition { partition, offset, max_bytes };
    Fetch { token: Token(0), partitions: vec![wanted], max_bytes, committed: false }
}

fn propose<T: serde::Serialize>(kind: Kind, value: &T, proposals: &mut Proposals, answer: Provisioned) {
    let mut record = Vec::new();
    record::put_value(&mut record, kind, value);
    proposals.provision(record, answer);
}
