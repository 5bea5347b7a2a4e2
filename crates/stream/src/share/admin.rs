//! Looking at groups, beginning them anew, and forgetting them: because somebody asks, or because nobody comes any
//! more.

use super::log::Answer;
use super::{HORIZON_RECORDS, SHARES_MAX, Share, ShareWaiter, Shares, begin};
use crate::out::{Out, Proposal, Waiter};
use crate::partition::Partitions;
use bowline_model::record::{self, Kind};
use bowline_model::share::{ChangeError, CreateRecord, DeleteRecord, Described, Listed, Reply, Start};
use bowline_model::{Millis, PartitionId, SessionId, Token};
use std::collections::BTreeMap;

/// A group in which nobody has been for so long is forgotten, partition by partition, ms. Since when is not logged:
/// after a restart the days count anew, which keeps a group too long rather than too short.
pub const IDLE_MS: u64 = 7 * 24 * 60 * 60 * 1000;
/// How often that is looked at, ms.
const IDLE_CHECK_MS: u64 = 10 * 60 * 1000;

impl Shares {
    pub(super) fn list(&self, session: SessionId, token: Token, out: &mut Out) {
        let mut groups: BTreeMap<&str, bool> = BTreeMap::new();
        for share in self.shares.values() {
            *groups.entry(&share.group).or_default() |= !share.members.is_empty();
        }
        let listed = |(group, has_members): (&str, bool)| Listed { group: group.to_owned(), has_members };
        let reply = Reply::Listed(groups.into_iter().map(listed).collect());
        Answer { session, token, reply }.send(out);
    }

    pub(super) fn describe(
        &self,
        session: SessionId,
        token: Token,
        group: &str,
        wanted: Option<Vec<PartitionId>>,
        partitions: &Partitions,
        out: &mut Out,
    ) {
        let described = self.of_group(group, wanted.as_deref()).map(|share| {
            let progress = &share.progress;
            let end = partitions.high_watermark(share.partition).unwrap_or(0);
            let settled: u64 = progress.settled().map(|(first, end)| end - first).sum();
            let lag = end.saturating_sub(progress.start()).saturating_sub(settled);
            (share.partition, Described { start: progress.start(), lag })
        });
        let reply = Reply::Described(described.collect());
        Answer { session, token, reply }.send(out);
    }

    pub(super) fn delete(
        &mut self,
        session: SessionId,
        token: Token,
        group: &str,
        wanted: Option<Vec<PartitionId>>,
        out: &mut Out,
    ) {
        let mut proposal = Proposal::new(true);
        let mut refused = None;
        for share in self.of_group(group, wanted.as_deref()) {
            refused = refused.or((!share.members.is_empty()).then_some(ChangeError::HasMembers));
            propose_delete(share, &mut proposal);
        }
        if proposal.count == 0 {
            refused = Some(ChangeError::UnknownGroup);
        }
        change(session, token, proposal, refused, out);
    }

    pub(super) fn reset(
        &mut self,
        session: SessionId,
        token: Token,
        group: &str,
        starts: &[(PartitionId, Start)],
        partitions: &Partitions,
        out: &mut Out,
    ) {
        let mut proposal = Proposal::new(true);
        let (mut refused, mut new) = (None, 0);
        for &(partition, start) in starts {
            let bounds = partitions.log_start(partition).zip(partitions.high_watermark(partition));
            let Some((log_start, high_watermark)) = bounds else {
                refused = refused.or(Some(ChangeError::UnknownPartition));
                continue;
            };
            match self.find(partition, group).and_then(|at| self.shares.get(&at)) {
                Some(share) if share.members.is_empty() => propose_delete(share, &mut proposal),
                Some(_) => refused = refused.or(Some(ChangeError::HasMembers)),
                None => new += 1,
            }
            let start = begin(start, log_start, high_watermark);
            let horizon = start + HORIZON_RECORDS;
            let create = CreateRecord { partition, group: group.to_owned(), start, horizon };
            record::put_value(&mut proposal.records, Kind::ShareCreate, &create);
            proposal.count += 1;
        }
        if self.shares.len() + new > SHARES_MAX {
            refused = refused.or(Some(ChangeError::TooMany));
        }
        change(session, token, proposal, refused, out);
    }

    /// Proposes to forget groups in which nobody has been for long.
    pub(super) fn forget_idle(&mut self, now: Millis, out: &mut Out) {
        if self.shares.is_empty() || now < self.next_check {
            return;
        }
        self.next_check = now + IDLE_CHECK_MS;
        let mut proposal = Proposal::new(false);
        for share in self.shares.values_mut() {
            if !share.members.is_empty() {
                share.idle_since = None;
            } else if now >= share.idle_since.get_or_insert(now).saturating_add(IDLE_MS) {
                propose_delete(share, &mut proposal);
            }
        }
        if proposal.count > 0 {
            proposal.waiter = Some(Waiter::Share(Box::new(ShareWaiter::Expired)));
            out.propose.push(proposal);
        }
    }

    fn of_group(&self, group: &str, wanted: Option<&[PartitionId]>) -> impl Iterator<Item = &Share> {
        let wanted = move |share: &&Share| wanted.is_none_or(|wanted| wanted.contains(&share.partition));
        let named = self.by_name.iter().filter(move |((_, name), _)| **name == *group);
        named.filter_map(|(_, at)| self.shares.get(at)).filter(wanted)
    }
}

fn propose_delete(share: &Share, proposal: &mut Proposal) {
    let delete = DeleteRecord { partition: share.partition, group: share.group.to_string() };
    record::put_value(&mut proposal.records, Kind::ShareDelete, &delete);
    proposal.count += 1;
}

/// Proposes the change, or says why not.
fn change(
    session: SessionId,
    token: Token,
    mut proposal: Proposal,
    refused: Option<ChangeError>,
    out: &mut Out,
) {
    let reply = Reply::Changed(refused.map_or(Ok(()), Err));
    let answer = Answer { session, token, reply };
    if refused.is_some() || proposal.count == 0 {
        return answer.send(out);
    }
    proposal.waiter = Some(Waiter::Share(Box::new(ShareWaiter::Changed(answer))));
    out.propose.push(proposal);
}
