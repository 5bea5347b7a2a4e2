//! How many connections vhosts and users have on this node, and how many channels users: what limits are held against.
//!
//! A connection holds a [`Place`] from its opening on. Its counts go with the place, however the connection ends.
//! Limits are looked up by who asks, so that a change counts for connections and channels to come.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// Counts by name; what is at 0 is not kept.
#[derive(Debug, Default)]
pub struct Usage(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    connections_by_vhost: HashMap<Arc<str>, u64>,
    connections_by_user: HashMap<Arc<str>, u64>,
    channels_by_user: HashMap<Arc<str>, u64>,
}

/// Which limit is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Full {
    Vhost,
    User,
}

/// What an open connection counts for.
#[derive(Debug)]
pub struct Place {
    usage: Arc<Usage>,
    vhost: Arc<str>,
    user: Arc<str>,
    channels: u64,
}

impl Usage {
    /// Counts a connection unless its vhost or its user has `vhost_max` or `user_max` of them already; `None`: any
    /// number.
    ///
    /// # Errors
    /// Which of the two is full; the vhost is looked at first, as in RabbitMQ.
    pub fn enter(
        self: &Arc<Self>,
        (vhost, vhost_max): (Arc<str>, Option<u64>),
        (user, user_max): (Arc<str>, Option<u64>),
    ) -> Result<Place, Full> {
        let mut counts = self.0.lock();
        if !has_room(&counts.connections_by_vhost, &vhost, vhost_max) {
            return Err(Full::Vhost);
        }
        if !has_room(&counts.connections_by_user, &user, user_max) {
            return Err(Full::User);
        }
        *counts.connections_by_vhost.entry(vhost.clone()).or_default() += 1;
        *counts.connections_by_user.entry(user.clone()).or_default() += 1;
        drop(counts);
        Ok(Place { usage: self.clone(), vhost, user, channels: 0 })
    }

    /// Connections in a vhost.
    pub fn connections_in(&self, vhost: &str) -> u64 {
        self.0.lock().connections_by_vhost.get(vhost).copied().unwrap_or_default()
    }
}

impl Place {
    /// Counts a channel unless the user has `max` of them on all its connections. False: there is no room.
    #[must_use]
    pub fn open_channel(&mut self, max: Option<u64>) -> bool {
        let mut counts = self.usage.0.lock();
        let has_room = has_room(&counts.channels_by_user, &self.user, max);
        if has_room {
            *counts.channels_by_user.entry(self.user.clone()).or_default() += 1;
            self.channels += 1;
        }
        has_room
    }

    /// One of the connection's channels is gone.
    pub fn close_channel(&mut self) {
        if self.channels > 0 {
            self.channels -= 1;
            take(&mut self.usage.0.lock().channels_by_user, &self.user, 1);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.usage.0.lock();
        take(&mut counts.connections_by_vhost, &self.vhost, 1);
        take(&mut counts.connections_by_user, &self.user, 1);
        take(&mut counts.channels_by_user, &self.user, self.channels);
    }
}

fn has_room(counts: &HashMap<Arc<str>, u64>, name: &Arc<str>, max: Option<u64>) -> bool {
    max.is_none_or(|max| counts.get(name).copied().unwrap_or_default() < max)
}

fn take(counts: &mut HashMap<Arc<str>, u64>, name: &Arc<str>, n: u64) {
    if let Some(count) = counts.get_mut(name) {
        *count = count.saturating_sub(n);
        if *count == 0 {
            counts.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(usage: &Arc<Usage>, vhost_max: Option<u64>, user_max: Option<u64>) -> Result<Place, Full> {
        usage.enter(("v".into(), vhost_max), ("u".into(), user_max))
    }

    #[test]
    fn a_place_counts_until_it_is_dropped() {
        let usage = Arc::new(Usage::default());
        assert_eq!(enter(&usage, Some(0), None).unwrap_err(), Full::Vhost);
        assert_eq!(enter(&usage, None, Some(0)).unwrap_err(), Full::User);
        let first = enter(&usage, Some(2), Some(1)).unwrap();
        assert_eq!(enter(&usage, Some(2), Some(1)).unwrap_err(), Full::User);
        let second = enter(&usage, Some(2), Some(2)).unwrap();
        assert_eq!(enter(&usage, Some(2), None).unwrap_err(), Full::Vhost);
        assert_eq!(usage.connections_in("v"), 2);
        drop((first, second));
        let counts = usage.0.lock();
        assert!(counts.connections_by_vhost.is_empty() && counts.connections_by_user.is_empty());
    }

    #[test]
    fn channels_are_counted_over_all_connections_of_a_user() {
        let usage = Arc::new(Usage::default());
        let (mut one, mut other) = (enter(&usage, None, None).unwrap(), enter(&usage, None, None).unwrap());
        assert!(one.open_channel(Some(2)) && other.open_channel(Some(2)));
        assert!(!one.open_channel(Some(2)));
        other.close_channel();
        other.close_channel();
        assert!(one.open_channel(Some(2)) && !other.open_channel(Some(2)) && other.open_channel(None));
        drop(one);
        assert_eq!(usage.0.lock().channels_by_user["u"], 1);
    }
}
