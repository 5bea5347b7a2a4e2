//! Client instances: what each was told, and whether it comes too early.
//!
//! | a push | is refused with |
//! |---|---|
//! | after the one with which the client took leave | INVALID_REQUEST |
//! | earlier than its interval after the one before, but for the first after a question and for the last | THROTTLING_QUOTA_EXCEEDED |
//! | under a subscription that has changed | UNKNOWN_SUBSCRIPTION_ID, whereupon the client asks |
//! | in a compression that there is not | UNSUPPORTED_COMPRESSION_TYPE |
//! | of too many bytes | TELEMETRY_TOO_LARGE |
//!
//! There are at most [`INSTANCES_MAX`]; whoever was quiet for longest is forgotten first, and everybody after three
//! intervals or [`KEPT_MIN`]. Who is forgotten is served again as if it were new: nothing but its pace is lost.

use super::PUSH_BYTES_MAX;
use bowline_codec_kafka::records::Compression;
use bowline_codec_kafka::{ErrorCode, Uuid};
use hashbrown::HashMap;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// As many as Kafka keeps.
pub const INSTANCES_MAX: usize = 16_384;
/// Nobody is forgotten sooner, but for want of room.
pub const KEPT_MIN: Duration = Duration::from_secs(60);

/// What one client was told to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    pub subscription_id: i32,
    pub interval: Duration,
    /// Of the subscriptions.
    pub version: u64,
}

/// A push, without what is in it.
#[derive(Clone, Copy, Debug)]
pub struct Push {
    pub id: Uuid,
    pub subscription_id: i32,
    /// The client takes its leave.
    pub is_last: bool,
    /// As on the wire.
    pub compression: i8,
    pub bytes: usize,
}

/// Why a client is not answered as it wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    TookLeave,
    TooEarly,
    UnknownSubscription,
    UnknownCompression,
    TooLarge,
}

impl Refusal {
    pub fn code(self) -> ErrorCode {
        match self {
            Refusal::TookLeave => ErrorCode::InvalidRequest,
            Refusal::TooEarly => ErrorCode::ThrottlingQuotaExceeded,
            Refusal::UnknownSubscription => ErrorCode::UnknownSubscriptionId,
            Refusal::UnknownCompression => ErrorCode::UnsupportedCompressionType,
            Refusal::TooLarge => ErrorCode::TelemetryTooLarge,
        }
    }

    /// The client is to ask at once what is wanted of it now.
    fn sends_back(self) -> bool {
        matches!(self, Refusal::UnknownSubscription | Refusal::UnknownCompression)
    }
}

/// Those that are known.
#[derive(Debug, Default)]
pub struct Instances {
    by_id: HashMap<Uuid, Instance, foldhash::fast::RandomState>,
    /// By the turn of their last use.
    by_use: BTreeMap<u64, Uuid>,
    turn: u64,
}

#[derive(Debug)]
struct Instance {
    plan: Plan,
    asked: Option<Instant>,
    pushed: Option<Instant>,
    /// It has asked and not pushed since.
    is_fresh: bool,
    took_leave: bool,
    /// It may ask again before its time.
    sent_back: bool,
    used: Instant,
    turn: u64,
}

impl Instances {
    /// The client asks, and is told `plan`.
    ///
    /// # Errors
    /// [`Refusal::TooEarly`].
    pub fn ask(&mut self, id: Uuid, plan: Plan, now: Instant) -> Result<(), Refusal> {
        self.instance(id, plan.version, || plan, now).ask(plan, now)
    }

    /// The client pushes. `version`: of the subscriptions now. `plan`: what it is told under them, if it was not yet.
    ///
    /// # Errors
    /// See the module.
    pub fn push(
        &mut self,
        push: Push,
        version: u64,
        plan: impl FnOnce() -> Plan,
        now: Instant,
    ) -> Result<(), Refusal> {
        self.instance(push.id, version, plan, now).push(&push, now)
    }

    pub fn is_known(&self, id: Uuid) -> bool {
        self.by_id.contains_key(&id)
    }

    pub fn forget(&mut self, id: Uuid) {
        if let Some(instance) = self.by_id.remove(&id) {
            self.by_use.remove(&instance.turn);
        }
    }

    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The instance, used now; under a plan of `version`.
    fn instance(
        &mut self,
        id: Uuid,
        version: u64,
        plan: impl FnOnce() -> Plan,
        now: Instant,
    ) -> &mut Instance {
        if self.by_id.get(&id).is_some_and(|known| known.is_stale(now)) {
            self.forget(id);
        }
        if !self.by_id.contains_key(&id) {
            self.make_room(now);
        }
        self.turn += 1;
        let turn = self.turn;
        let mut plan = Some(plan);
        let mut planned = || plan.take().map(|plan| plan());
        let instance = self.by_id.entry(id).or_insert_with(|| {
            let plan = planned().expect("taken once");
            Instance::new(plan, now, turn)
        });
        if instance.plan.version != version
            && let Some(plan) = planned()
        {
            // Under other subscriptions it begins anew, and at once.
            let (took_leave, turn) = (instance.took_leave, instance.turn);
            *instance = Instance { took_leave, ..Instance::new(plan, now, turn) };
        }
        self.by_use.remove(&instance.turn);
        self.by_use.insert(turn, id);
        (instance.turn, instance.used) = (turn, now);
        instance
    }

    /// For one more.
    fn make_room(&mut self, now: Instant) {
        while let Some((_, id)) = self.by_use.first_key_value() {
            let id = *id;
            let is_stale = self.by_id.get(&id).is_none_or(|known| known.is_stale(now));
            if self.by_id.len() < INSTANCES_MAX && !is_stale {
                return;
            }
            self.forget(id);
        }
    }
}

impl Instance {
    fn new(plan: Plan, used: Instant, turn: u64) -> Instance {
        Instance {
            plan,
            asked: None,
            pushed: None,
            is_fresh: false,
            took_leave: false,
            sent_back: false,
            used,
            turn,
        }
    }

    fn is_stale(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.used) > KEPT_MIN.max(self.plan.interval * 3)
    }

    fn ask(&mut self, plan: Plan, now: Instant) -> Result<(), Refusal> {
        let last = self.asked.max(self.pushed);
        if !self.sent_back && !is_due(last, self.plan.interval, now) {
            return Err(Refusal::TooEarly);
        }
        // The same version may tell it something else now: it has come over another connection.
        self.plan = plan;
        (self.asked, self.is_fresh, self.sent_back) = (Some(now), true, false);
        Ok(())
    }

    fn push(&mut self, push: &Push, now: Instant) -> Result<(), Refusal> {
        let verdict = self.verdict(push, now);
        self.took_leave |= push.is_last;
        self.sent_back = verdict.is_err_and(Refusal::sends_back);
        verdict
    }

    fn verdict(&mut self, push: &Push, now: Instant) -> Result<(), Refusal> {
        if self.took_leave {
            return Err(Refusal::TookLeave);
        }
        // The first push comes after a random part of the interval, so that not all clients come together.
        if self.is_fresh || is_due(self.pushed, self.plan.interval, now) {
            (self.pushed, self.is_fresh) = (Some(now), false);
        } else if !push.is_last {
            return Err(Refusal::TooEarly);
        }
        if push.subscription_id != self.plan.subscription_id {
            return Err(Refusal::UnknownSubscription);
        }
        if Compression::from_bits(push.compression.into()).is_none() {
            return Err(Refusal::UnknownCompression);
        }
        if push.bytes > PUSH_BYTES_MAX {
            return Err(Refusal::TooLarge);
        }
        Ok(())
    }
}

fn is_due(last: Option<Instant>, interval: Duration, now: Instant) -> bool {
    last.is_none_or(|last| now.saturating_duration_since(last) >= interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const ID: Uuid = Uuid([7; 16]);

    fn plan(version: u64) -> Plan {
        Plan { subscription_id: version as i32, interval: SECOND, version }
    }

    fn push(subscription_id: i32) -> Push {
        Push { id: ID, subscription_id, is_last: false, compression: 0, bytes: 10 }
    }

    struct Clients {
        instances: Instances,
        now: Instant,
        version: u64,
    }

    impl Clients {
        fn new() -> Clients {
            Clients { instances: Instances::default(), now: Instant::now(), version: 1 }
        }

        fn ask(&mut self) -> Result<(), Refusal> {
            self.instances.ask(ID, plan(self.version), self.now)
        }

        fn push(&mut self, push: Push) -> Result<(), Refusal> {
            let version = self.version;
            self.instances.push(push, version, || plan(version), self.now)
        }
    }

    #[test]
    fn a_client_keeps_its_interval() {
        let mut clients = Clients::new();
        assert_eq!(clients.ask(), Ok(()));
        assert_eq!(clients.ask(), Err(Refusal::TooEarly));
        clients.now += SECOND / 2;
        assert_eq!(clients.push(push(1)), Ok(()), "the first after a question comes when it likes");
        clients.now += SECOND / 2;
        assert_eq!(clients.push(push(1)), Err(Refusal::TooEarly));
        assert_eq!(clients.ask(), Err(Refusal::TooEarly), "nor may it ask");
        clients.now += SECOND / 2;
        assert_eq!(clients.push(push(1)), Ok(()), "an interval after the one before");
        assert_eq!(clients.push(push(1)), Err(Refusal::TooEarly));
    }

    #[test]
    fn who_took_leave_has_left() {
        let mut clients = Clients::new();
        clients.ask().unwrap();
        clients.push(push(1)).unwrap();
        let last = Push { is_last: true, ..push(1) };
        assert_eq!(clients.push(last), Ok(()), "the last need not wait");
        assert_eq!(clients.push(last), Err(Refusal::TookLeave));
        clients.now += SECOND * 2;
        clients.version += 1;
        assert_eq!(clients.push(push(2)), Err(Refusal::TookLeave), "whatever changes");
        clients.now += KEPT_MIN + SECOND;
        assert_eq!(clients.push(push(2)), Ok(()), "until it is forgotten");
    }

    #[test]
    fn who_pushes_what_is_not_wanted_may_ask_at_once() {
        let mut clients = Clients::new();
        clients.ask().unwrap();
        clients.push(push(1)).unwrap();
        clients.version += 1;
        assert_eq!(clients.push(push(1)), Err(Refusal::UnknownSubscription));
        assert_eq!(clients.ask(), Ok(()));
        assert_eq!(clients.ask(), Err(Refusal::TooEarly), "once");
        assert_eq!(clients.push(push(2)), Ok(()));
        clients.now += SECOND;
        assert_eq!(clients.push(Push { compression: 5, ..push(2) }), Err(Refusal::UnknownCompression));
        assert_eq!(clients.push(Push { compression: -1, ..push(2) }), Err(Refusal::TooEarly));
        clients.now += SECOND;
        let large = Push { bytes: PUSH_BYTES_MAX + 1, ..push(2) };
        assert_eq!(clients.push(large), Err(Refusal::TooLarge));
        assert_eq!(clients.ask(), Err(Refusal::TooEarly), "this one is told to wait");
        // Changed subscriptions are told at once to whoever asks.
        clients.version += 1;
        assert_eq!(clients.ask(), Ok(()));
    }

    #[test]
    fn a_broker_that_was_started_again_takes_pushes() {
        let mut clients = Clients::new();
        assert_eq!(clients.push(push(1)), Ok(()));
        assert_eq!(clients.push(push(1)), Err(Refusal::TooEarly));
    }

    #[test]
    fn a_flood_of_ids_is_bounded_and_forgets_the_quietest() {
        let mut clients = Clients::new();
        let now = clients.now;
        clients.ask().unwrap();
        for n in 1..=INSTANCES_MAX as u128 {
            clients.instances.ask(Uuid::from_u128(n), plan(1), now).unwrap();
        }
        assert_eq!(clients.instances.len(), INSTANCES_MAX);
        assert!(!clients.instances.is_known(ID), "it was there first and has not come again");
        assert!(clients.instances.is_known(Uuid::from_u128(1)));
        // What is stale goes with the next newcomer.
        clients.now += KEPT_MIN + SECOND;
        clients.ask().unwrap();
        assert_eq!((clients.instances.len(), clients.instances.by_use.len()), (1, 1));
        clients.instances.forget(ID);
        assert!(clients.instances.is_empty() && clients.instances.by_use.is_empty());
    }
}
