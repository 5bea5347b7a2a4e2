//! What the log has to be told: settles and returns gather, and are written when a block is sealed, whichever it is.

use super::flight::{Runs, Unlogged};
use super::{ShareNumber, ShareWaiter, Shares};
use crate::out::{Out, Proposal, Waiter};
use bowline_model::record::{self, Kind, SettleReason};
use bowline_model::share::{CountsRecord, SettleRecord};

/// A proposal is given up for the next at this size, bytes.
const PROPOSAL_BYTES: usize = 256 * 1024;

/// What is in one proposal, should the log not take it.
#[derive(Debug, Default)]
pub struct Logged(Vec<(ShareNumber, Unlogged)>);

impl Shares {
    /// Whether the log has to be told something.
    pub fn is_unlogged(&self) -> bool {
        !self.unlogged.is_empty()
    }

    /// Proposes all that the log has not been told.
    pub fn tell_log(&mut self, out: &mut Out) {
        let (mut proposal, mut logged) = (Proposal::new(false), Logged::default());
        while let Some(at) = self.unlogged.pop_first() {
            let Some(share) = self.shares.get_mut(&at) else { continue };
            let Some(flight) = &mut share.flight else { continue };
            let told = std::mem::take(&mut flight.unlogged);
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
            logged.0.push((at, told));
            if proposal.records.len() >= PROPOSAL_BYTES {
                send(
                    std::mem::replace(&mut proposal, Proposal::new(false)),
                    std::mem::take(&mut logged),
                    out,
                );
            }
        }
        send(proposal, logged, out);
    }

    /// The log did not take it.
    pub(super) fn unlog(&mut self, logged: Logged) {
        for (at, told) in logged.0 {
            if let Some(share) = self.shares.get_mut(&at)
                && let Some(flight) = &mut share.flight
            {
                flight.unlogged.merge(told);
                self.unlogged.insert(at);
            }
        }
    }
}

fn send(mut proposal: Proposal, logged: Logged, out: &mut Out) {
    if proposal.count > 0 {
        proposal.waiter = Some(Waiter::Share(Box::new(ShareWaiter::Logged(logged))));
        out.propose.push(proposal);
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
