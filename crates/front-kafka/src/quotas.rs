//! Client quotas enforced: how much a client has used, and how long it has to wait.
//!
//! Each quota is a bucket that fills at its rate and holds [`WINDOW`] of it. What is used is taken out, more than there
//! is, too: the answer then says how long the bucket will be in debt (`throttle_time_ms`), and for so long nothing more
//! is read from the connection (KIP-219). Over any longer time a client gets its rate, and bursts of what a window
//! holds: the same bound as Kafka's eleven samples of a second.
//!
//! Of time that is worked for a client ([`Work`]) less is owed at most, and a client is held back for less at a time.
//!
//! Buckets are shared by all connections of the node whose use is counted together. There are at most [`METERS_MAX`]:
//! full ones that nobody uses are forgotten, which loses nothing; clients beyond that share one bucket among them.

use crate::catalog::Catalog;
use bowline_model::Principal;
use bowline_model::quota::QuotaKey;
use hashbrown::HashMap;
use std::cell::Cell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How much of its rate a client may save up.
pub const WINDOW: Duration = Duration::from_secs(10);
/// Buckets of one node. More than this many clients with quotas within a window is a flood.
pub const METERS_MAX: usize = 10_000;
/// Throttling is told, and enforced, in at most this; what is owed beyond stays owed.
const THROTTLE_MAX: Duration = Duration::from_secs(3600);

/// Whoever has used more than its part of a thread's time is held back for this long at most after a request (as in
/// Kafka, KIP-124): members of groups have to be heard of.
const WORK_THROTTLE_MAX: Duration = Duration::from_secs(1);

/// One bucket.
#[derive(Debug)]
pub struct Meter(Mutex<Bucket>);

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// A second, > 0.
    rate: f64,
    /// Negative: owed.
    level: f64,
    at: Instant,
}

impl Bucket {
    fn fill(&mut self, now: Instant) {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * self.rate;
        self.level = (self.level + gained).min(self.capacity());
        self.at = self.at.max(now);
    }

    fn capacity(&self) -> f64 {
        self.rate * WINDOW.as_secs_f64()
    }

    /// Until nothing is owed any more.
    fn debt(&self) -> Duration {
        match self.level < 0.0 {
            true => {
                Duration::try_from_secs_f64(-self.level / self.rate).unwrap_or(THROTTLE_MAX).min(THROTTLE_MAX)
            }
            false => Duration::ZERO,
        }
    }
}

impl Meter {
    fn new(rate: f64, now: Instant) -> Meter {
        let mut bucket = Bucket { rate, level: 0.0, at: now };
        bucket.level = bucket.capacity();
        Meter(Mutex::new(bucket))
    }

    /// Takes `amount` out; how long it takes until that is paid for.
    pub fn charge(&self, amount: f64, now: Instant) -> Duration {
        let mut bucket = lock(&self.0);
        bucket.fill(now);
        bucket.level -= amount;
        bucket.debt()
    }

    /// Takes out time that was worked. No more is owed than a window's worth: as in Kafka, what lies longer back is
    /// forgotten.
    fn charge_work(&self, worked: Duration, now: Instant) -> Duration {
        let mut bucket = lock(&self.0);
        bucket.fill(now);
        bucket.level = (bucket.level - worked.as_secs_f64()).max(-bucket.capacity());
        bucket.debt().min(WORK_THROTTLE_MAX)
    }

    /// How long it takes until what was taken before is paid for.
    pub fn debt(&self, now: Instant) -> Duration {
        let mut bucket = lock(&self.0);
        bucket.fill(now);
        bucket.debt()
    }

    /// What a client that has saved up may use at once.
    pub fn capacity(&self) -> f64 {
        lock(&self.0).capacity()
    }

    /// The quota may have changed; what is owed is paid off at the new rate.
    fn set_rate(&self, rate: f64, now: Instant) {
        let mut bucket = lock(&self.0);
        if bucket.rate != rate {
            bucket.fill(now);
            bucket.rate = rate;
            bucket.level = bucket.level.min(bucket.capacity());
        }
    }

    fn is_full(&self, now: Instant) -> bool {
        let mut bucket = lock(&self.0);
        bucket.fill(now);
        bucket.level >= bucket.capacity()
    }
}

/// Whose use is counted together.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Owner {
    key: QuotaKey,
    user: Option<String>,
    client_id: Option<String>,
    ip: Option<String>,
}

/// All buckets of a node.
#[derive(Debug, Default)]
pub struct Meters(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    meters: HashMap<Owner, Arc<Meter>, foldhash::fast::RandomState>,
    /// For those that found no place, by what is limited.
    overflow: HashMap<QuotaKey, Arc<Meter>, foldhash::fast::RandomState>,
    /// Full ones were last looked for.
    swept: Option<Instant>,
}

impl Meters {
    fn of(&self, owner: Owner, rate: f64, now: Instant) -> Arc<Meter> {
        let mut table = lock(&self.0);
        if table.meters.len() >= METERS_MAX && !table.meters.contains_key(&owner) {
            table.sweep(now);
        }
        let meter = match table.meters.get(&owner) {
            Some(meter) => meter.clone(),
            None if table.meters.len() >= METERS_MAX => {
                let meter =
                    table.overflow.entry(owner.key).or_insert_with(|| Arc::new(Meter::new(rate, now)));
                meter.clone()
            }
            None => {
                let meter = Arc::new(Meter::new(rate, now));
                table.meters.insert(owner, meter.clone());
                meter
            }
        };
        drop(table);
        meter.set_rate(rate, now);
        meter
    }

    /// Counts a connection from `ip`; how long it is too early, if it has a quota.
    pub fn connection(&self, catalog: &dyn Catalog, ip: &str, now: Instant) -> Duration {
        let key = QuotaKey::ConnectionCreationRate;
        let mut rate = None;
        catalog.look(&mut |topology| rate = topology.quotas().of_address(key, ip));
        let Some(rate) = rate else { return Duration::ZERO };
        let owner = Owner { key, user: None, client_id: None, ip: Some(ip.to_owned()) };
        self.of(owner, rate, now).charge(1.0, now)
    }
}

impl Table {
    /// A second at least lies between two of these, so that a flood does not walk the table with each new name.
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|at| now.saturating_duration_since(at) < Duration::from_secs(1)) {
            return;
        }
        self.swept = Some(now);
        self.meters.retain(|_, meter| Arc::strong_count(meter) > 1 || !meter.is_full(now));
    }
}

/// The buckets that one session draws on, as it last found them.
#[derive(Default)]
pub struct ClientQuotas {
    found: Option<Found>,
    produce: Option<Arc<Meter>>,
    fetch: Option<Arc<Meter>>,
    mutations: Option<Arc<Meter>>,
    work: Option<Arc<Meter>>,
}

/// What they were looked for by.
struct Found {
    version: u64,
    principal: Arc<Principal>,
    client_id: String,
}

impl ClientQuotas {
    /// Looks for the quotas again if anything that they depend on has changed.
    pub fn refresh(
        &mut self,
        meters: &Meters,
        catalog: &dyn Catalog,
        principal: &Arc<Principal>,
        client_id: &str,
        now: Instant,
    ) {
        let version = catalog.version();
        let same = |found: &Found| {
            found.version == version
                && Arc::ptr_eq(&found.principal, principal)
                && found.client_id == client_id
        };
        if self.found.as_ref().is_some_and(same) {
            return;
        }
        self.found = Some(Found { version, principal: principal.clone(), client_id: client_id.to_owned() });
        let mut limits = [None; 4];
        const KEYS: [QuotaKey; 4] = [
            QuotaKey::ProducerByteRate,
            QuotaKey::ConsumerByteRate,
            QuotaKey::ControllerMutationRate,
            QuotaKey::RequestPercentage,
        ];
        catalog.look(&mut |topology| {
            limits = KEYS.map(|key| topology.quotas().of_client(key, &principal.name, client_id));
        });
        let mut meters = KEYS.into_iter().zip(limits).map(|(key, limit)| {
            let (rate, shared) = limit?;
            let owner = Owner {
                key,
                user: shared.user.then(|| principal.name.clone()),
                client_id: shared.client_id.then(|| client_id.to_owned()),
                ip: None,
            };
            let rate = match key {
                // Seconds a second.
                QuotaKey::RequestPercentage => rate / 100.0,
                _ => rate,
            };
            Some(meters.of(owner, rate, now))
        });
        let mut next = || meters.next().flatten();
        (self.produce, self.fetch, self.mutations, self.work) = (next(), next(), next(), next());
    }

    /// For bytes produced.
    pub fn produce(&self) -> Option<&Meter> {
        self.produce.as_deref()
    }

    /// For bytes fetched.
    pub fn fetch(&self) -> Option<&Meter> {
        self.fetch.as_deref()
    }

    /// For partitions made and deleted.
    pub fn mutations(&self) -> Option<&Meter> {
        self.mutations.as_deref()
    }
}

/// Tells the time while a request is worked for, if that is limited.
pub type Clock = Box<dyn Fn() -> Instant + Send + Sync>;

/// The time that a session works for one step of one request.
pub struct Work<'a> {
    meter: &'a Meter,
    clock: &'a Clock,
    /// What was worked before is charged.
    since: Cell<Instant>,
}

impl<'a> Work<'a> {
    /// Begins now. `None`, and no look at the clock, for clients whose time is not limited.
    pub fn begin(quotas: &'a ClientQuotas, clock: &'a Clock) -> Option<Work<'a>> {
        let meter = quotas.work.as_deref()?;
        Some(Work { meter, clock, since: Cell::new(clock()) })
    }

    /// Charges what was worked since the last time; how long the client is to be held back.
    pub fn charge(&self) -> Duration {
        let now = (self.clock)();
        let worked = now.saturating_duration_since(self.since.replace(now));
        self.meter.charge_work(worked, now)
    }
}

/// Milliseconds on the wire: rounded up, so that nobody comes back too early.
pub fn millis(wait: Duration) -> u32 {
    u32::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(u32::MAX).min(i32::MAX as u32)
}

/// A panic elsewhere leaves numbers that are still good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(client_id: String) -> Owner {
        Owner { key: QuotaKey::ProducerByteRate, user: None, client_id: Some(client_id), ip: None }
    }

    #[test]
    fn a_client_gets_its_rate_and_a_window_of_burst() {
        let start = Instant::now();
        let meter = Meter::new(100.0, start);
        assert_eq!(meter.charge(1000.0, start), Duration::ZERO, "a window's worth");
        assert_eq!(meter.charge(50.0, start), Duration::from_millis(500));
        assert_eq!(meter.debt(start + Duration::from_millis(200)), Duration::from_millis(300));
        // Obeying: 50 bytes every half second from now on, for a minute.
        let mut now = start;
        let mut sent = 0.0;
        while now < start + Duration::from_secs(60) {
            now += meter.debt(now);
            meter.charge(50.0, now);
            sent += 50.0;
        }
        assert!((5950.0..=6100.0).contains(&sent), "{sent}");
        // Silence saves up a window and no more.
        let later = now + Duration::from_secs(3600);
        assert_eq!(meter.charge(1000.0, later), Duration::ZERO);
        assert!(meter.charge(1.0, later) > Duration::ZERO);
    }

    #[test]
    fn time_that_goes_back_gives_nothing() {
        let start = Instant::now();
        let meter = Meter::new(10.0, start + Duration::from_secs(5));
        meter.charge(100.0, start + Duration::from_secs(5));
        assert_eq!(meter.charge(10.0, start), Duration::from_secs(1));
        assert_eq!(meter.debt(start + Duration::from_secs(6)), Duration::ZERO);
    }

    #[test]
    fn a_changed_quota_holds_at_once() {
        let now = Instant::now();
        let meter = Meter::new(100.0, now);
        meter.charge(1100.0, now);
        meter.set_rate(10.0, now);
        assert_eq!(meter.debt(now), Duration::from_secs(10));
        let meter = Meter::new(100.0, now);
        meter.set_rate(10.0, now);
        assert_eq!(meter.charge(110.0, now), Duration::from_secs(1), "nor is more saved up than it holds");
    }

    #[test]
    fn work_is_paid_for_a_second_at_a_time_and_forgotten() {
        let start = Instant::now();
        // Ten percent.
        let meter = Meter::new(0.1, start);
        assert_eq!(meter.charge_work(Duration::from_secs(1), start), Duration::ZERO, "a window's worth");
        assert_eq!(meter.charge_work(Duration::from_millis(20), start), Duration::from_millis(200));
        assert_eq!(meter.charge_work(Duration::from_secs(100), start), WORK_THROTTLE_MAX);
        let later = start + WINDOW - Duration::from_millis(500);
        assert_eq!(meter.charge_work(Duration::ZERO, later), Duration::from_millis(500));
        assert_eq!(meter.charge_work(Duration::ZERO, start + WINDOW), Duration::ZERO);
    }

    #[test]
    fn a_flood_of_names_is_bounded_and_cannot_escape() {
        let now = Instant::now();
        let meters = Meters::default();
        for n in 0..METERS_MAX {
            meters.of(owner(n.to_string()), 1.0, now).charge(1.0, now);
        }
        let flooding = meters.of(owner("one too many".into()), 1.0, now);
        flooding.charge(20.0, now);
        let another = meters.of(owner("and another".into()), 1.0, now);
        assert_eq!(another.debt(now), Duration::from_secs(10), "they share a bucket");
        assert_eq!(lock(&meters.0).meters.len(), METERS_MAX);
        // Whoever was there keeps its own.
        assert_eq!(meters.of(owner("7".into()), 1.0, now).debt(now), Duration::ZERO);
        // When the flood is over its traces go.
        let later = now + Duration::from_secs(60);
        let held = meters.of(owner("7".into()), 1.0, later);
        held.charge(30.0, later);
        meters.of(owner("new".into()), 1.0, later);
        assert_eq!(lock(&meters.0).meters.len(), 2, "what somebody uses stays");
        assert_eq!(meters.of(owner("7".into()), 1.0, later).debt(later), Duration::from_secs(20));
    }
}
