//! Records that are archived and have somewhere to go: the dead-letter topic of their group (KIP-1191), or the
//! dead-letter exchange of the consumer that gave them up.
//!
//! Such a record is *dying*: in nobody's hands, and not settled. Outside, a letter is made of it ([`Out::dead`]);
//! letter and settle are one batch of the log ([`Shares::buried`]), with the letter in an Outbox record if it is for
//! another shard. So a crash leaves both or neither, and after one that leaves neither the record is handed out again.
//! Whoever waits for an answer to the acknowledgement has it when both are in the log.

use super::log::Answer;
use super::{Share, ShareNumber, ShareWaiter, Shares};
use crate::out::{Out, Proposal, Waiter};
use bowline_model::PartitionId;
use bowline_model::record::{self, Kind, SettleReason};
use bowline_model::share::{DeadLetterExchange, DeadLetters, SettleRecord};
use std::sync::Arc;

/// A record that is dying.
#[derive(Debug)]
pub struct Dead {
    share: ShareNumber,
    pub partition: PartitionId,
    pub group: Arc<str>,
    pub offset: u64,
    /// How often it was handed out, ≥ 1.
    pub deliveries: u32,
    /// `Rejected` or `DeliveryLimit`.
    pub reason: SettleReason,
    /// Where it goes, if not to the group's topic.
    pub exchange: Option<Arc<DeadLetterExchange>>,
    /// The record itself goes there.
    pub is_copied: bool,
    /// Ticket of the acknowledgement that waits for it.
    awaited: Option<u64>,
}

/// An answer that waits for several batches of the log.
#[derive(Debug)]
pub(super) struct Awaited {
    pub answer: Answer,
    pub parts: usize,
    /// All that are there so far were logged.
    pub logged: bool,
}

impl Share {
    /// Adds what the last call has left dying to `dead`.
    pub(super) fn give_up(
        &mut self,
        at: ShareNumber,
        exchange: Option<&Arc<DeadLetterExchange>>,
        awaited: Option<u64>,
        dead: &mut Vec<Dead>,
    ) {
        let Some(flight) = &mut self.flight else { return };
        for (offset, deliveries, reason) in flight.dying.drain(..) {
            dead.push(Dead {
                share: at,
                partition: self.partition,
                group: self.group.clone(),
                offset,
                deliveries,
                reason,
                exchange: exchange.cloned(),
                is_copied: exchange.is_some() || self.policy.dead_letters == DeadLetters::Copies,
                awaited,
            });
        }
    }
}

impl Shares {
    /// What becomes of a dying record: `letters` are framed records, `count` of them; none if nobody gets it.
    pub fn buried(&mut self, dead: Dead, letters: Vec<u8>, count: u32, out: &mut Out) {
        let mut proposal = Proposal::new(dead.awaited.is_some());
        proposal.records = letters;
        let settle = SettleRecord {
            partition: dead.partition,
            group: dead.group.to_string(),
            reason: dead.reason as u8,
            runs: vec![(dead.offset, 1)],
        };
        record::put_value(&mut proposal.records, Kind::ShareSettle, &settle);
        proposal.count = count + 1;
        proposal.waiter = Some(Waiter::Share(Box::new(ShareWaiter::Buried(dead))));
        out.propose.push(proposal);
    }

    pub(super) fn burial_applied(&mut self, dead: Dead, out: &mut Out) {
        if let Some(Some(flight)) = self.shares.get_mut(&dead.share).map(|share| &mut share.flight) {
            flight.buried(dead.offset);
            self.dirty.insert(dead.share);
        }
        if let Some(ticket) = dead.awaited {
            self.part_done(ticket, true, out);
        }
    }

    pub(super) fn burial_refused(&mut self, mut dead: Dead, again: bool, out: &mut Out) {
        if let Some(ticket) = dead.awaited.take() {
            self.part_done(ticket, false, out);
        }
        // The topology may be another by now, so the letter is made anew.
        if again {
            out.dead.push(dead);
        }
    }

    pub(super) fn part_done(&mut self, ticket: u64, logged: bool, out: &mut Out) {
        let Some(awaited) = self.awaited.get_mut(&ticket) else { return };
        awaited.parts -= 1;
        awaited.logged &= logged;
        if awaited.parts == 0
            && let Some(Awaited { answer, logged, .. }) = self.awaited.remove(&ticket)
        {
            let answer = if logged { answer } else { answer.not_logged() };
            answer.send(out);
        }
    }

    /// How many records an acknowledgement has left dying.
    pub(super) fn dying_for(&self, ticket: u64) -> usize {
        self.dead.iter().filter(|dead| dead.awaited == Some(ticket)).count()
    }
}
