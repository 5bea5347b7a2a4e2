//! What the log has to be told: settles and returns gather, and are written when a block is sealed, whichever it is.

use super::flight::{Runs, Unlogged};
use super::{ShareNumber, ShareWaiter, Shares};
use crate::out::{Out, Proposal, Waiter};
use bowline_model::event::Event;
use bowline_model::record::{self, Kind, SettleReason};
use bowline_model::share::{AcknowledgeError, ChangeError, CountsRecord, Reply, SettleRecord};
use bowline_model::{SessionId, Token};

/// A proposal is given up for the next at this size, bytes.
const PROPOSAL_BYTES: usize = 256 * 1024;

/// What is in one proposal, should the log not take it, and who wants to hear when it has.
#[derive(Debug, Default)]
pub struct Logged {
    pub told: Vec<(ShareNumber, Unlogged)>,
    pub answer: Option<Due>,
}

/// What is due when the log has something.
#[derive(Debug)]
pub enum Due {
    Answer(Answer),
    /// A part of what the answer of this ticket waits for.
    Part(u64),
}

/// What is due to a session.
#[derive(Debug)]
pub struct Answer {
    pub session: SessionId,
    pub token: Token,
    pub reply: Reply,
}

impl Answer {
    /// The same, when the log has not taken it.
    pub fn not_logged(mut self) -> Answer {
        match &mut self.reply {
            Reply::Acknowledged(results) => {
                for (_, result) in results.iter_mut().filter(|(_, result)| result.is_ok()) {
                    *result = Err(AcknowledgeError::Storage);
                }
            }
            reply => *reply = Reply::Changed(Err(ChangeError::Storage)),
        }
        self
    }

    pub fn send(self, out: &mut Out) {
        let Answer { session, token, reply } = self;
        out.replies.push((session, Event::Share { token, reply }));
    }
}

impl Shares {
    /// Whether the log has to be told something.
    pub fn is_unlogged(&self) -> bool {
        !self.unlogged.is_empty()
    }

    /// Proposes all that the log has not been told.
    pub fn tell_log(&mut self, out: &mut Out) {
        self.tell(None, out);
    }

    /// As [`Shares::tell_log`]; `answer` is sent when the log has everything, at once if it has already.
    pub(super) fn tell(&mut self, answer: Option<Due>, out: &mut Out) {
        let urgent = answer.is_some();
        let mut proposals = vec![(Proposal::new(urgent), Logged::default())];
        while let Some(at) = self.unlogged.pop_first() {
            let Some(share) = self.shares.get_mut(&at) else { continue };
            let Some(flight) = &mut share.flight else { continue };
            let told = std::mem::take(&mut flight.unlogged);
            if proposals.last().is_none_or(|(proposal, _)| proposal.records.len() >= PROPOSAL_BYTES) {
                proposals.push((Proposal::new(urgent), Logged::default()));
            }
            let Some((proposal, logged)) = proposals.last_mut() else { return };
            let (partition, group) = (share.partition, share.group.to_string());
            let settles = [(SettleReason::Acked, &told.accepted), (SettleReason::Rejected, &told.archived)];
            for (reason, runs) in settles {
                if !runs.is_empty() {
                    let (group, runs) = (group.clone(), joined(runs));
                    let record = SettleRecord { partition, group, reason: reason as u8, runs };
                    record::put_value(&mut proposal.records, Kind::ShareSettle, &record);
                    proposal.count += 1;
                }
            }
            let times = |&offset: &u64| {
                Some((offset, flight.returns_of(offset, &share.progress))).filter(|(_, n)| *n > 0)
            };
            let returns: Vec<(u64, u32)> = told.returned.iter().filter_map(times).collect();
            if !returns.is_empty() {
                let record = CountsRecord { partition, group, returns };
                record::put_value(&mut proposal.records, Kind::ShareCounts, &record);
                proposal.count += 1;
            }
            logged.told.push((at, told));
        }
        proposals.retain(|(proposal, _)| proposal.count > 0);
        match (answer, proposals.last_mut()) {
            (Some(answer), None) => self.due(answer, true, out),
            // Blocks are applied in order: when the last is there, all are.
            (answer, Some((_, logged))) => logged.answer = answer,
            (None, None) => {}
        }
        for (mut proposal, logged) in proposals {
            proposal.waiter = Some(Waiter::Share(Box::new(ShareWaiter::Logged(logged))));
            out.propose.push(proposal);
        }
    }

    /// What waited for the log to have something is due; `logged`: it has.
    pub(super) fn due(&mut self, due: Due, logged: bool, out: &mut Out) {
        match due {
            Due::Answer(answer) if logged => answer.send(out),
            Due::Answer(answer) => answer.not_logged().send(out),
            Due::Part(ticket) => self.part_done(ticket, logged, out),
        }
    }

    /// The log did not take it.
    pub(super) fn unlog(&mut self, told: Vec<(ShareNumber, Unlogged)>) {
        for (at, told) in told {
            if let Some(share) = self.shares.get_mut(&at)
                && let Some(flight) = &mut share.flight
            {
                flight.unlogged.merge(told);
                self.unlogged.insert(at);
            }
        }
    }
}

/// The same offsets, ascending, in as few runs as will do.
fn joined(runs: &Runs) -> Runs {
    let mut sorted = runs.clone();
    sorted.sort_unstable();
    let mut joined: Runs = Vec::with_capacity(sorted.len());
    for (first, count) in sorted {
        match joined.last_mut() {
            Some((last, length)) if *last + *length == first => *length += count,
            _ => joined.push((first, count)),
        }
    }
    joined
}
