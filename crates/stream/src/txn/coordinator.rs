//! The coordinator of transactional ids.
//!
//! ```text
//!          Add             Decide                     Complete
//! Empty ────────► Ongoing ────────► Prepare{Commit,Abort} ────────► Complete{Commit,Abort}
//!   ▲                ▲                                                │  │
//!   └── Init ────────│────────────────────────────────────────────────┘  │
//!                    └── Add ────────────────────────────────────────────┘
//! ```
//! Epochs say who may speak. Init raises it, so an older instance of a producer is fenced; so does an abort that the
//! producer did not ask for; and so does each end of a transaction of producers that know KIP-890, by which nothing
//! that was sent in one transaction can be taken for a part of the next. Older producers keep their epoch. For them,
//! the coordinator listens to the newest connection alone (`Reply::Outdated`): a client that sends a request again
//! does so on a new connection, so whatever an older one still brings is of the past.

use super::{ID_BYTES_MAX, ID_EXPIRY_MS, IDS_MAX, MEMBERS_MAX, Place, Send, WAITING_MAX};
use crate::out::{Out, Proposal, Waiter};
use bowline_model::event::Event;
use bowline_model::record::{self, Append, Kind};
use bowline_model::txn::{
    AdmitRecord, Change, Description, Error, GroupsRecord, Listed, Member, Producer, Reply, Request, State,
    TIMEOUT_MS_MAX, TxnRecord, marker,
};
use bowline_model::{Millis, PartitionId, SessionId, ShardId, Token};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Epochs end here: one is kept for the markers of the last transaction.
const EPOCH_MAX: i16 = i16::MAX - 1;
/// How often ids are looked at that may have expired, ms.
const EXPIRY_CHECK_MS: u64 = 10 * 60 * 1000;
/// A transaction whose time is over is looked at again after this long if it cannot be ended now, ms.
const OVERDUE_RETRY_MS: u64 = 1_000;

/// All transactional ids of the shard.
#[derive(Debug, Default)]
pub struct Txns {
    place: Place,
    by_id: BTreeMap<Arc<str>, Txn>,
    /// Whose confirmation a ticket is.
    tickets: BTreeMap<u64, Arc<str>>,
    next_ticket: u64,
    /// When open transactions have to end.
    deadlines: BTreeSet<(Millis, Arc<str>)>,
    /// What an earlier life of the process has decided and not completed.
    resume: Vec<Arc<str>>,
    next_check: Millis,
    /// The latest that was heard of.
    now: Millis,
}

/// One transactional id.
#[derive(Debug)]
pub(super) struct Txn {
    pub producer: Producer,
    /// What it was before its epoch was raised, if it may not have heard of that.
    pub last: Option<Producer>,
    pub timeout_ms: u32,
    pub state: State,
    pub members: BTreeMap<PartitionId, (String, u32)>,
    pub groups: BTreeSet<String>,
    pub started: Millis,
    pub updated: Millis,
    /// Of a transaction that has been decided.
    pub marker: Producer,

    // Volatile.
    /// Which of `members` and `groups` are known to take what comes.
    admitted: BTreeSet<PartitionId>,
    admitted_groups: BTreeSet<String>,
    busy: Option<Busy>,
    /// Confirmations that are missing.
    missing: usize,
    waiting: VecDeque<(Asker, Request)>,
    /// The newest on which this producer spoke.
    newest: (Producer, SessionId),
    /// As registered in `Txns::deadlines`.
    deadline: Millis,
}

const NOBODY: Producer = Producer { id: -1, epoch: -1 };

#[derive(Debug)]
enum Busy {
    /// Something is on its way into the log.
    Proposed,
    Admitting(Asker, Part),
    Marking,
}

#[derive(Clone, Copy, Debug)]
struct Asker {
    session: SessionId,
    token: Token,
}

/// What takes part in one shard.
#[derive(Clone, Debug, Default)]
struct Part {
    partitions: Vec<PartitionId>,
    groups: Vec<String>,
}

/// What is due when a proposal has been applied.
#[derive(Debug)]
pub struct TxnWaiter {
    id: Arc<str>,
    step: Step,
}

#[derive(Debug)]
enum Step {
    Initialised { asker: Asker, producer: Producer },
    Added { asker: Asker, own: Part, others: BTreeMap<ShardId, Part>, from_zero: bool },
    Decided { asker: Option<Asker>, next: Producer },
    Completed,
    Forgotten,
}

impl Txn {
    pub fn new() -> Txn {
        Txn {
            producer: NOBODY,
            last: None,
            timeout_ms: 0,
            state: State::Empty,
            members: BTreeMap::new(),
            groups: BTreeSet::new(),
            started: 0,
            updated: 0,
            marker: NOBODY,
            admitted: BTreeSet::new(),
            admitted_groups: BTreeSet::new(),
            busy: None,
            missing: 0,
            waiting: VecDeque::new(),
            newest: (NOBODY, SessionId(0)),
            deadline: Millis::MAX,
        }
    }

    fn is_decided(&self) -> bool {
        matches!(self.state, State::PrepareCommit | State::PrepareAbort)
    }

    fn is_busy(&self) -> bool {
        self.busy.is_some() || self.is_decided()
    }

    /// Nothing of it is in the log, and nobody waits for it.
    fn is_vacant(&self) -> bool {
        self.producer == NOBODY && self.busy.is_none() && self.waiting.is_empty()
    }

    fn since(&self) -> Option<Millis> {
        (self.state != State::Empty).then_some(self.started)
    }

    fn check(&self, producer: Producer) -> Result<(), Error> {
        if producer.id != self.producer.id {
            Err(Error::InvalidProducerIdMapping)
        } else if producer.epoch != self.producer.epoch {
            Err(Error::ProducerFenced)
        } else {
            Ok(())
        }
    }

    /// False: the producer has spoken on a newer connection.
    fn hear(&mut self, producer: Producer, session: SessionId) -> bool {
        #[cfg(feature = "sabotage")]
        if crate::sabotage::is_on(&crate::sabotage::OLD_CONNECTION_HEARD) {
            return true;
        }
        if self.newest.0 == producer && session < self.newest.1 {
            return false;
        }
        self.newest = (producer, session);
        true
    }

    /// All who take part, by shard.
    fn parts(&self, place: Place) -> BTreeMap<ShardId, Part> {
        let members = self.members.keys().copied();
        let groups = self.groups.iter().cloned();
        by_shard(place, members, groups)
    }
}

fn by_shard(
    place: Place,
    partitions: impl Iterator<Item = PartitionId>,
    groups: impl Iterator<Item = String>,
) -> BTreeMap<ShardId, Part> {
    let mut parts: BTreeMap<ShardId, Part> = BTreeMap::new();
    for partition in partitions {
        parts.entry(ShardId::of(partition.0, place.data_shards)).or_default().partitions.push(partition);
    }
    for group in groups {
        parts.entry(ShardId::of_group(&group, place.data_shards)).or_default().groups.push(group);
    }
    parts
}

impl Txns {
    pub fn new(place: Place) -> Txns {
        Txns { place, ..Txns::default() }
    }

    /// Takes a request. Answered by `Event::Txn`, when it has been carried out durably.
    pub fn handle(&mut self, now: Millis, session: SessionId, token: Token, request: Request, out: &mut Out) {
        self.now = self.now.max(now);
        let asker = Asker { session, token };
        let id = match &request {
            Request::List => return answer(asker, Reply::Listed(self.list()), out),
            Request::Describe { id } => {
                let found = self.by_id.get(id.as_str()).filter(|txn| txn.producer != NOBODY);
                return answer(asker, Reply::Described(found.map(describe)), out);
            }
            Request::Init { id, .. }
            | Request::Add { id, .. }
            | Request::Verify { id, .. }
            | Request::End { id, .. } => id.as_str(),
        };
        let key = match self.by_id.get_key_value(id) {
            Some((key, _)) => key.clone(),
            None => match self.newcomer(&request) {
                Ok(key) => key,
                Err(reply) => return answer(asker, reply, out),
            },
        };
        let Some(txn) = self.by_id.get_mut(&key) else { return };
        if !txn.is_busy() {
            self.serve(&key, asker, request, out);
            self.forget_if_vacant(&key);
        } else if txn.waiting.len() < WAITING_MAX {
            txn.waiting.push_back((asker, request));
        } else {
            refuse(asker, &request, Error::ConcurrentTransactions, out);
        }
    }

    /// Applies a Txn record.
    pub fn apply(&mut self, stamp: Millis, record: &record::Record<'_>) {
        self.now = self.now.max(stamp);
        let Ok(TxnRecord { id, change }) = postcard::from_bytes::<TxnRecord>(record.body) else { return };
        let key: Arc<str> = match self.by_id.get_key_value(id.as_str()) {
            Some((key, _)) => key.clone(),
            None => id.into(),
        };
        if let Change::Forget = change {
            if let Some(txn) = self.by_id.get_mut(&key) {
                match txn.busy.is_some() || !txn.waiting.is_empty() {
                    // It is wanted again; as if it came for the first time.
                    true => {
                        *txn = Txn {
                            busy: txn.busy.take(),
                            waiting: std::mem::take(&mut txn.waiting),
                            ..Txn::new()
                        }
                    }
                    false => drop(self.by_id.remove(&key)),
                }
            }
            return;
        }
        let txn = self.by_id.entry(key.clone()).or_insert_with(Txn::new);
        txn.updated = stamp;
        match change {
            Change::Init { producer, last, timeout_ms } => {
                (txn.producer, txn.last, txn.timeout_ms) = (producer, last, timeout_ms);
                txn.state = State::Empty;
            }
            Change::Add { members, groups } => {
                if txn.state != State::Ongoing {
                    (txn.state, txn.started) = (State::Ongoing, stamp);
                    txn.deadline = stamp + u64::from(txn.timeout_ms);
                    self.deadlines.insert((txn.deadline, key));
                }
                txn.members.extend(members.into_iter().map(|m| (m.partition, (m.topic, m.index))));
                txn.groups.extend(groups);
            }
            Change::Decide { commit, marker, next, last } => {
                if txn.state != State::Ongoing {
                    // Nothing had come; it is told as if it had begun now.
                    txn.started = stamp;
                }
                txn.state = if commit { State::PrepareCommit } else { State::PrepareAbort };
                (txn.marker, txn.producer, txn.last) = (marker, next, last);
                self.deadlines.remove(&(txn.deadline, key));
                txn.deadline = Millis::MAX;
            }
            Change::Complete => {
                txn.state = match txn.state {
                    State::PrepareCommit => State::CompleteCommit,
                    _ => State::CompleteAbort,
                };
                (txn.members, txn.groups) = Default::default();
                (txn.admitted, txn.admitted_groups) = Default::default();
            }
            Change::Forget => {}
        }
    }

    /// Applies a NodeStarted record: nobody waits any more, and what was decided is to be carried out.
    pub fn node_started(&mut self) {
        self.tickets.clear();
        self.resume.clear();
        self.by_id.retain(|_, txn| txn.producer != NOBODY);
        for (key, txn) in &mut self.by_id {
            (txn.busy, txn.missing) = (None, 0);
            txn.waiting.clear();
            (txn.admitted, txn.admitted_groups) = Default::default();
            #[cfg(feature = "sabotage")]
            if crate::sabotage::is_on(&crate::sabotage::DECISION_FORGOTTEN) {
                continue;
            }
            if txn.is_decided() {
                self.resume.push(key.clone());
            }
        }
    }

    pub fn applied(&mut self, waiter: TxnWaiter, out: &mut Out) {
        let TxnWaiter { id, step } = waiter;
        match step {
            Step::Initialised { asker, producer } => {
                answer(asker, Reply::Producer(Ok(producer)), out);
            }
            Step::Added { asker, own, others, from_zero } => {
                let Some(txn) = self.by_id.get_mut(&id) else { return };
                let producer = txn.producer;
                txn.admit(&own);
                if !others.is_empty() {
                    return self.admit_elsewhere(&id, asker, producer, from_zero, others, out);
                }
                answer(asker, Reply::Added(Ok(())), out);
            }
            Step::Decided { asker, next } => {
                // The decision is durable. The records that it is about need not be waited for: each partition's marker
                // lies behind them in the log of the partition's shard, of which a prefix is durable at any time.
                if let Some(asker) = asker {
                    answer(asker, Reply::Producer(Ok(next)), out);
                }
                if self.by_id.get(&id).is_some_and(Txn::is_decided) {
                    return self.mark_elsewhere(&id, out);
                }
            }
            Step::Completed | Step::Forgotten => {}
        }
        self.release(&id, out);
    }

    /// The log has not taken it. `again`: it may take it later.
    pub fn refused(&mut self, waiter: TxnWaiter, again: bool, out: &mut Out) {
        let error = Error::CoordinatorNotAvailable;
        match waiter.step {
            Step::Initialised { asker, .. } | Step::Decided { asker: Some(asker), .. } => {
                answer(asker, Reply::Producer(Err(error)), out);
            }
            Step::Added { asker, .. } => answer(asker, Reply::Added(Err(error)), out),
            // It is done, and has to be written down.
            Step::Completed if again => return self.complete(&waiter.id, false, out),
            Step::Completed | Step::Decided { asker: None, .. } | Step::Forgotten => {}
        }
        self.release(&waiter.id, out);
    }

    /// Another shard has what was sent to it under this ticket.
    pub fn confirmed(&mut self, ticket: u64, out: &mut Out) {
        let Some(key) = self.tickets.remove(&ticket) else { return };
        let Some(txn) = self.by_id.get_mut(&key) else { return };
        txn.missing = txn.missing.saturating_sub(1);
        if txn.missing > 0 {
            return;
        }
        match txn.busy.take() {
            Some(Busy::Admitting(asker, part)) => {
                txn.admit(&part);
                answer(asker, Reply::Added(Ok(())), out);
                self.release(&key, out);
            }
            Some(Busy::Marking) => self.complete(&key, true, out),
            other => txn.busy = other,
        }
    }

    /// Goes on with what was decided, aborts what takes too long, forgets what nobody has used.
    pub fn tick(&mut self, now: Millis, out: &mut Out) {
        self.now = self.now.max(now);
        for key in std::mem::take(&mut self.resume) {
            if self.by_id.get(&key).is_some_and(|txn| txn.is_decided() && txn.busy.is_none()) {
                self.mark_elsewhere(&key, out);
            }
        }
        while let Some((_, key)) = self.deadlines.pop_first_if_before(now) {
            let Some(txn) = self.by_id.get_mut(&key) else { continue };
            if txn.state != State::Ongoing {
                continue;
            }
            // Until it has been decided.
            txn.deadline = now + OVERDUE_RETRY_MS;
            self.deadlines.insert((txn.deadline, key.clone()));
            if !txn.is_busy() {
                let old = txn.producer;
                let next = Producer { epoch: old.epoch.saturating_add(1), ..old };
                self.decide(&key, false, next, next, Some(old), None, out);
            }
        }
        if now >= self.next_check {
            self.next_check = now + EXPIRY_CHECK_MS;
            self.expire(now, out);
        }
    }

    pub fn next_deadline(&self) -> Option<Millis> {
        if self.by_id.is_empty() {
            return None;
        }
        if !self.resume.is_empty() {
            return Some(0);
        }
        Some(self.deadlines.first().map_or(self.next_check, |(at, _)| self.next_check.min(*at)))
    }

    /// Ids that are in the log, in their order.
    pub(super) fn durable(&self) -> impl Iterator<Item = (&str, &Txn)> {
        self.by_id.iter().filter(|(_, txn)| txn.producer != NOBODY).map(|(id, txn)| (&**id, txn))
    }

    /// From a checkpoint.
    pub(super) fn insert(&mut self, id: &str, mut txn: Txn) {
        let key: Arc<str> = id.into();
        if txn.state == State::Ongoing {
            txn.deadline = txn.started + u64::from(txn.timeout_ms);
            self.deadlines.insert((txn.deadline, key.clone()));
        }
        self.by_id.insert(key, txn);
    }

    pub fn place(&self) -> Place {
        self.place
    }

    /// A place for an id that is not known, if it may have one.
    fn newcomer(&mut self, request: &Request) -> Result<Arc<str>, Reply> {
        let Request::Init { id, timeout_ms, fresh, .. } = request else {
            return Err(refusal(request, Error::InvalidProducerIdMapping));
        };
        if !(1..=TIMEOUT_MS_MAX).contains(timeout_ms) {
            return Err(refusal(request, Error::InvalidTransactionTimeout));
        }
        if id.len() > ID_BYTES_MAX || self.by_id.len() >= IDS_MAX {
            return Err(refusal(request, Error::PolicyViolation));
        }
        if fresh.is_none() {
            return Err(Reply::NeedsId);
        }
        let key: Arc<str> = id.as_str().into();
        self.by_id.insert(key.clone(), Txn::new());
        Ok(key)
    }

    /// Carries out a request whose turn it is.
    fn serve(&mut self, key: &Arc<str>, asker: Asker, request: Request, out: &mut Out) {
        match request {
            Request::Init { timeout_ms, known, fresh, .. } => {
                let outcome = self.init(key, asker, timeout_ms, known, fresh, out);
                if let Err(reply) = outcome {
                    answer(asker, reply, out);
                }
            }
            Request::Add { producer, members, group, implicit, .. } => {
                if let Err(reply) = self.add(key, asker, producer, members, group, implicit, out) {
                    answer(asker, reply, out);
                }
            }
            Request::Verify { producer, partitions, .. } => {
                let Some(txn) = self.by_id.get(key) else { return };
                let open = txn.state == State::Ongoing;
                let is_in = |p: &PartitionId| open && txn.members.contains_key(p);
                let verified = txn.check(producer).map(|()| partitions.iter().map(is_in).collect());
                answer(asker, Reply::Verified(verified), out);
            }
            Request::End { producer, commit, bumps, fresh, .. } => {
                if let Err(reply) = self.end(key, asker, producer, commit, bumps, fresh, out) {
                    answer(asker, reply, out);
                }
            }
            Request::Describe { .. } | Request::List => {}
        }
    }

    /// `Err`: the answer; else it comes later.
    fn init(
        &mut self,
        key: &Arc<str>,
        asker: Asker,
        timeout_ms: i32,
        known: Option<Producer>,
        fresh: Option<i64>,
        out: &mut Out,
    ) -> Result<(), Reply> {
        let failed = |error| Err(Reply::Producer(Err(error)));
        let Some(txn) = self.by_id.get_mut(key) else { return Ok(()) };
        if !(1..=TIMEOUT_MS_MAX).contains(&timeout_ms) {
            return failed(Error::InvalidTransactionTimeout);
        }
        let old = txn.producer;
        if let Some(known) = known.filter(|_| old != NOBODY)
            && known != old
            && txn.last != Some(known)
        {
            return failed(Error::ProducerFenced);
        }
        if txn.state == State::Ongoing {
            // First what is open has to end; then this has its turn again.
            txn.waiting.push_front((asker, Request::Init { id: key.to_string(), timeout_ms, known, fresh }));
            let next = Producer { epoch: old.epoch.saturating_add(1), ..old };
            self.decide(key, false, next, next, known, None, out);
            return Ok(());
        }
        if old != NOBODY && known.is_some() && txn.last == known {
            // It has not heard that its epoch was raised.
            return Err(Reply::Producer(Ok(old)));
        }
        let producer = if old == NOBODY || old.epoch >= EPOCH_MAX {
            let Some(fresh) = fresh else { return Err(Reply::NeedsId) };
            Producer { id: fresh, epoch: 0 }
        } else {
            Producer { epoch: old.epoch + 1, ..old }
        };
        let mut proposal = Proposal::new(true);
        let change = Change::Init { producer, last: known, timeout_ms: timeout_ms as u32 };
        put_change(&mut proposal, key, change);
        txn.busy = Some(Busy::Proposed);
        propose(proposal, key, Step::Initialised { asker, producer }, out);
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn add(
        &mut self,
        key: &Arc<str>,
        asker: Asker,
        producer: Producer,
        members: Vec<Member>,
        group: Option<String>,
        implicit: bool,
        out: &mut Out,
    ) -> Result<(), Reply> {
        let place = self.place;
        let Some(txn) = self.by_id.get_mut(key) else { return Ok(()) };
        txn.check(producer).map_err(|error| Reply::Added(Err(error)))?;
        if !implicit && !txn.hear(producer, asker.session) {
            return Err(Reply::Outdated);
        }
        let unadmitted = members.iter().map(|m| m.partition).filter(|p| !txn.admitted.contains(p));
        let unadmitted_groups = group.iter().filter(|g| !txn.admitted_groups.contains(*g)).cloned();
        let mut others = by_shard(place, unadmitted, unadmitted_groups);
        if others.is_empty() && txn.state == State::Ongoing {
            return Err(Reply::Added(Ok(())));
        }
        let ongoing = txn.state == State::Ongoing;
        let new_members: Vec<Member> =
            members.into_iter().filter(|m| !ongoing || !txn.members.contains_key(&m.partition)).collect();
        let new_groups: Vec<String> =
            group.into_iter().filter(|g| !ongoing || !txn.groups.contains(g)).collect();
        if txn.members.len() + new_members.len() > MEMBERS_MAX
            || txn.groups.len() + new_groups.len() > MEMBERS_MAX
        {
            return Err(Reply::Added(Err(Error::PolicyViolation)));
        }
        let own = others.remove(&place.shard).unwrap_or_default();
        let mut proposal = Proposal::new(true);
        if !ongoing || !new_members.is_empty() || !new_groups.is_empty() {
            put_change(&mut proposal, key, Change::Add { members: new_members, groups: new_groups });
        }
        if !own.is_empty() {
            put_admit(&mut proposal.records, producer, own.clone(), implicit);
            proposal.count += 1;
        }
        if proposal.count == 0 {
            self.admit_elsewhere(key, asker, producer, implicit, others, out);
        } else {
            txn.busy = Some(Busy::Proposed);
            propose(proposal, key, Step::Added { asker, own, others, from_zero: implicit }, out);
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn end(
        &mut self,
        key: &Arc<str>,
        asker: Asker,
        producer: Producer,
        commit: bool,
        bumps: bool,
        fresh: Option<i64>,
        out: &mut Out,
    ) -> Result<(), Reply> {
        let failed = |error| Err(Reply::Producer(Err(error)));
        let Some(txn) = self.by_id.get_mut(key) else { return Ok(()) };
        let done = if commit { State::CompleteCommit } else { State::CompleteAbort };
        if bumps && txn.last == Some(producer) {
            // It has not heard how that ended.
            return match txn.state == done {
                true => Err(Reply::Producer(Ok(txn.producer))),
                false => failed(Error::InvalidTxnState),
            };
        }
        txn.check(producer).map_err(|error| Reply::Producer(Err(error)))?;
        if !bumps && !txn.hear(producer, asker.session) {
            return Err(Reply::Outdated);
        }
        match txn.state {
            State::Ongoing => {}
            state if !bumps && state == done => return Err(Reply::Producer(Ok(producer))),
            // Nothing has come; the producer wants a new epoch all the same.
            _ if bumps && !commit => {}
            _ => return failed(Error::InvalidTxnState),
        }
        if !bumps {
            self.decide(key, commit, producer, producer, None, Some(asker), out);
            return Ok(());
        }
        let marker = Producer { epoch: producer.epoch.saturating_add(1), ..producer };
        let next = if producer.epoch < EPOCH_MAX {
            marker
        } else {
            let Some(fresh) = fresh else { return Err(Reply::NeedsId) };
            Producer { id: fresh, epoch: 0 }
        };
        self.decide(key, commit, marker, next, Some(producer), Some(asker), out);
        Ok(())
    }

    /// Writes down how the transaction ends, together with what that means in this shard.
    #[allow(clippy::too_many_arguments)]
    fn decide(
        &mut self,
        key: &Arc<str>,
        commit: bool,
        marker: Producer,
        next: Producer,
        last: Option<Producer>,
        asker: Option<Asker>,
        out: &mut Out,
    ) {
        let (place, now) = (self.place, self.now);
        let Some(txn) = self.by_id.get_mut(key) else { return };
        let mut parts = txn.parts(place);
        let mut proposal = Proposal::new(true);
        #[cfg(feature = "sabotage")]
        let asker = match asker {
            Some(asker) if crate::sabotage::is_on(&crate::sabotage::END_ANSWERED_EARLY) => {
                answer(asker, Reply::Producer(Ok(next)), out);
                None
            }
            asker => asker,
        };
        put_change(&mut proposal, key, Change::Decide { commit, marker, next, last });
        if let Some(own) = parts.remove(&place.shard) {
            proposal.count += put_markers(&mut proposal.records, own, marker, commit, now);
        }
        if parts.is_empty() {
            put_change(&mut proposal, key, Change::Complete);
        }
        txn.busy = Some(Busy::Proposed);
        propose(proposal, key, Step::Decided { asker, next }, out);
        #[cfg(feature = "sabotage")]
        if crate::sabotage::is_on(&crate::sabotage::MARKED_EARLY) {
            if let Some(decision) = out.propose.last_mut() {
                decision.urgent = false;
            }
            for (shard, part) in parts {
                let mut records = Vec::new();
                let count = put_markers(&mut records, part, marker, commit, now);
                out.sends.push(Send { shard, records, count, ticket: 0 });
            }
        }
    }

    /// Has the other shards write what was decided; they may have, before a crash.
    fn mark_elsewhere(&mut self, key: &Arc<str>, out: &mut Out) {
        let place = self.place;
        let Some(txn) = self.by_id.get_mut(key) else { return };
        let mut parts = txn.parts(place);
        parts.remove(&place.shard);
        let (marker, commit, time) = (txn.marker, txn.state == State::PrepareCommit, txn.updated);
        txn.busy = Some(Busy::Marking);
        txn.missing = parts.len();
        for (shard, part) in parts {
            let mut records = Vec::new();
            let count = put_markers(&mut records, part, marker, commit, time);
            self.send(key, shard, records, count, out);
        }
    }

    fn admit_elsewhere(
        &mut self,
        key: &Arc<str>,
        asker: Asker,
        producer: Producer,
        from_zero: bool,
        parts: BTreeMap<ShardId, Part>,
        out: &mut Out,
    ) {
        let Some(txn) = self.by_id.get_mut(key) else { return };
        txn.missing = parts.len();
        let mut all = Part::default();
        for part in parts.values() {
            all.partitions.extend(&part.partitions);
            all.groups.extend(part.groups.iter().cloned());
        }
        txn.busy = Some(Busy::Admitting(asker, all));
        for (shard, part) in parts {
            let mut records = Vec::new();
            put_admit(&mut records, producer, part, from_zero);
            self.send(key, shard, records, 1, out);
        }
    }

    fn send(&mut self, key: &Arc<str>, shard: ShardId, records: Vec<u8>, count: u32, out: &mut Out) {
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        self.tickets.insert(ticket, key.clone());
        out.sends.push(Send { shard, records, count, ticket });
    }

    fn complete(&mut self, key: &Arc<str>, urgent: bool, out: &mut Out) {
        if let Some(txn) = self.by_id.get_mut(key) {
            txn.busy = Some(Busy::Proposed);
        }
        let mut proposal = Proposal::new(urgent);
        put_change(&mut proposal, key, Change::Complete);
        propose(proposal, key, Step::Completed, out);
    }

    /// What was under way is over: those who wait have their turns.
    fn release(&mut self, key: &Arc<str>, out: &mut Out) {
        if let Some(txn) = self.by_id.get_mut(key) {
            txn.busy = None;
        }
        while let Some(txn) = self.by_id.get_mut(key).filter(|txn| !txn.is_busy())
            && let Some((asker, request)) = txn.waiting.pop_front()
        {
            self.serve(key, asker, request, out);
        }
        self.forget_if_vacant(key);
    }

    fn forget_if_vacant(&mut self, key: &Arc<str>) {
        if self.by_id.get(key).is_some_and(Txn::is_vacant) {
            self.by_id.remove(key);
        }
    }

    fn expire(&mut self, now: Millis, out: &mut Out) {
        for (key, txn) in &mut self.by_id {
            let idle = txn.state != State::Ongoing && !txn.is_busy() && txn.producer != NOBODY;
            if idle && txn.updated + ID_EXPIRY_MS <= now {
                txn.busy = Some(Busy::Proposed);
                let mut proposal = Proposal::new(false);
                put_change(&mut proposal, key, Change::Forget);
                propose(proposal, key, Step::Forgotten, out);
            }
        }
    }

    fn list(&self) -> Vec<Listed> {
        let listed = |(id, txn): (&str, &Txn)| Listed {
            id: id.to_owned(),
            producer_id: txn.producer.id,
            state: txn.state,
            started: txn.since(),
        };
        self.durable().map(listed).collect()
    }
}

impl Txn {
    fn admit(&mut self, part: &Part) {
        self.admitted.extend(&part.partitions);
        self.admitted_groups.extend(part.groups.iter().cloned());
    }
}

impl Part {
    fn is_empty(&self) -> bool {
        self.partitions.is_empty() && self.groups.is_empty()
    }
}

trait PopBefore {
    fn pop_first_if_before(&mut self, now: Millis) -> Option<(Millis, Arc<str>)>;
}

impl PopBefore for BTreeSet<(Millis, Arc<str>)> {
    fn pop_first_if_before(&mut self, now: Millis) -> Option<(Millis, Arc<str>)> {
        if self.first()?.0 > now { None } else { self.pop_first() }
    }
}

fn describe(txn: &Txn) -> Description {
    let member = |(&partition, (topic, index)): (&PartitionId, &(String, u32))| Member {
        partition,
        topic: topic.clone(),
        index: *index,
    };
    Description {
        state: txn.state,
        timeout_ms: txn.timeout_ms,
        started: txn.since(),
        producer: txn.producer,
        members: txn.members.iter().map(member).collect(),
    }
}

fn put_change(proposal: &mut Proposal, key: &Arc<str>, change: Change) {
    record::put_value(&mut proposal.records, Kind::Txn, &TxnRecord { id: key.to_string(), change });
    proposal.count += 1;
}

fn put_admit(records: &mut Vec<u8>, producer: Producer, part: Part, from_zero: bool) {
    let Part { partitions, groups } = part;
    record::put_value(records, Kind::TxnAdmit, &AdmitRecord { producer, partitions, groups, from_zero });
}

/// How many records those are.
fn put_markers(records: &mut Vec<u8>, part: Part, producer: Producer, commit: bool, time: Millis) -> u32 {
    let marker = marker(producer, commit, time);
    for partition in &part.partitions {
        Append::encode(records, partition.0, 0, &marker);
    }
    let count = part.partitions.len() as u32;
    if part.groups.is_empty() {
        return count;
    }
    record::put_value(records, Kind::TxnGroups, &GroupsRecord { producer, groups: part.groups, commit });
    count + 1
}

fn propose(mut proposal: Proposal, key: &Arc<str>, step: Step, out: &mut Out) {
    proposal.waiter = Some(Waiter::Txn(Box::new(TxnWaiter { id: key.clone(), step })));
    out.propose.push(proposal);
}

fn answer(asker: Asker, reply: Reply, out: &mut Out) {
    out.replies.push((asker.session, Event::Txn { token: asker.token, reply }));
}

fn refuse(asker: Asker, request: &Request, error: Error, out: &mut Out) {
    answer(asker, refusal(request, error), out);
}

fn refusal(request: &Request, error: Error) -> Reply {
    match request {
        Request::Init { .. } | Request::End { .. } => Reply::Producer(Err(error)),
        Request::Add { .. } => Reply::Added(Err(error)),
        Request::Verify { .. } => Reply::Verified(Err(error)),
        Request::Describe { .. } => Reply::Described(None),
        Request::List => Reply::Listed(Vec::new()),
    }
}
