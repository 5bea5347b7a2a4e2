//! Fair share: the tenants that have ready messages take turns, one message each, and each tenant's messages are in
//! order. So a tenant's first message waits for one of each other tenant's at most, whatever they have piled up.

use super::groups::{Groups, Member};
use super::returned::Place;
use super::window::MessageRef;
use foldhash::fast::FixedState;
use hashbrown::HashSet;
use std::collections::VecDeque;

/// Whose messages those are that name no tenant.
pub(crate) const NOBODY: u64 = 0;

#[derive(Debug, Default)]
pub(crate) struct Tenants {
    /// The first has its turn. All that have messages, and some that have none any more.
    ring: VecDeque<u64>,
    /// In the ring, without messages. Never the first.
    without: HashSet<u64, FixedState>,
    messages: Groups,
}

impl Tenants {
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub fn messages(&self) -> &Groups {
        &self.messages
    }

    pub fn push_number(&mut self, tenant: u64, seq: u64) {
        self.enter(tenant);
        self.messages.add_number(tenant, seq);
    }

    pub fn push_known(&mut self, tenant: u64, place: Place, message: MessageRef, returned: bool) {
        self.enter(tenant);
        self.messages.add_known(tenant, place, message, returned);
    }

    /// The message whose turn it is.
    pub fn peek(&self) -> Option<Member> {
        self.messages.first(*self.ring.front()?)
    }

    /// Takes what [`Tenants::peek`] showed.
    pub fn take(&mut self) -> Option<Member> {
        let tenant = self.ring.pop_front()?;
        let member = self.messages.first(tenant)?;
        self.messages.remove(tenant, member.place);
        if self.messages.first(tenant).is_some() {
            self.ring.push_back(tenant);
        }
        self.skip();
        Some(member)
    }

    /// Takes one that is not first. False if it is not there.
    pub fn remove(&mut self, tenant: u64, place: Place) -> bool {
        let found = self.messages.remove(tenant, place);
        if found && self.messages.first(tenant).is_none() {
            self.without.insert(tenant);
            self.skip();
        }
        found
    }

    /// All messages, as they would be taken if nothing came in between.
    pub fn in_turn(&self) -> impl Iterator<Item = Member> + '_ {
        let ring = self.ring.iter().filter(|tenant| !self.without.contains(*tenant));
        let mut ring: VecDeque<(u64, Option<Place>)> = ring.map(|tenant| (*tenant, None)).collect();
        std::iter::from_fn(move || {
            loop {
                let (tenant, after) = ring.pop_front()?;
                if let Some(member) = self.messages.next(tenant, after) {
                    ring.push_back((tenant, Some(member.place)));
                    return Some(member);
                }
            }
        })
    }

    pub fn drain(&mut self) -> impl Iterator<Item = MessageRef> + use<> {
        std::mem::take(self).messages.drain()
    }

    /// `tenant` is about to have one message more.
    fn enter(&mut self, tenant: u64) {
        if self.messages.first(tenant).is_none() && !self.without.remove(&tenant) {
            self.ring.push_back(tenant);
        }
    }

    fn skip(&mut self) {
        while !self.without.is_empty()
            && let Some(first) = self.ring.front()
            && self.without.remove(first)
        {
            self.ring.pop_front();
        }
        if self.ring.is_empty() && self.ring.capacity() > 1024 {
            self.ring = VecDeque::new();
            self.without = HashSet::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_model::Lsn;

    fn take_all(tenants: &mut Tenants) -> Vec<u64> {
        std::iter::from_fn(|| Some(tenants.take()?.message.seq)).collect()
    }

    #[test]
    fn tenants_take_turns_and_one_that_was_emptied_keeps_its_place_but_once() {
        let mut tenants = Tenants::default();
        for (seq, tenant) in [(0, 1), (1, 1), (2, 1), (3, 2), (4, 3), (5, 3)] {
            tenants.push_number(tenant, seq);
        }
        assert_eq!(tenants.take().unwrap().message.seq, 0);
        // Now it is the turn of 2, then 3, then 1.
        assert!(tenants.remove(3, Place { seq: 4, batch: u64::MAX, offset: 0 }));
        assert!(tenants.remove(3, Place { seq: 5, batch: u64::MAX, offset: 0 }));
        assert!(!tenants.remove(3, Place { seq: 5, batch: u64::MAX, offset: 0 }));
        tenants.push_number(3, 6);
        tenants.push_number(3, 7);
        let in_turn: Vec<u64> = tenants.in_turn().map(|member| member.message.seq).collect();
        assert_eq!(in_turn, [3, 6, 1, 7, 2]);
        assert_eq!(take_all(&mut tenants), [3, 6, 1, 7, 2]);
        assert!(tenants.is_empty() && tenants.ring.is_empty() && tenants.without.is_empty());
    }

    #[test]
    fn what_came_back_is_the_next_of_its_tenant() {
        let mut tenants = Tenants::default();
        for seq in 5..8 {
            tenants.push_number(1, seq);
        }
        let message = MessageRef { seq: 3, lsn: Lsn::new(1, 0), offset: 9, len: 1 };
        let place = Place { seq: 3, batch: u64::MAX, offset: 9 };
        tenants.push_known(1, place, message, true);
        assert!(tenants.peek().unwrap().returned);
        assert_eq!(take_all(&mut tenants), [3, 5, 6, 7]);
    }
}
