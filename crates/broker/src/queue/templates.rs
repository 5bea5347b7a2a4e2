//! Templates: messages that are never delivered themselves, but copied at the times of their schedule.
//!
//! When a copy is due the leader proposes it, as a Publish record that says which template it is of and for which time.
//! Whether it counts is decided when it is applied: only if the template is there and that is its time. The same
//! record sets the template's next time, reckoned from the stamp of its block. So a firing is in the log once or not at
//! all, whatever the leader does twice; and what was missed while the node was down is made up for by one copy.

use super::dispatch::Dispatch;
use super::sorted::Found;
use super::{Queue, Queues};
use crate::proposal::{Proposals, Provisioned};
use bowline_model::Millis;
use bowline_model::record::{self, Extras, Publish};
use bowline_model::schedule::Recurrence;
use serde::{Deserialize, Serialize};

/// A message with a schedule. Durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Template {
    recurrence: Recurrence,
    /// When it came in.
    start: Millis,
    /// Of the next copy.
    pub due: Millis,
    /// Copies yet to be made; 0: no bound.
    left: u32,
}

/// Copies that one queue makes in one round, bytes of records: others have to be served, too.
const ROUND_BYTES_MAX: usize = 1024 * 1024;

impl Queue {
    /// Durable: message `seq` has come in at `stamp` with a schedule. When its first copy is due; `None`: never.
    pub(super) fn add_template(&mut self, seq: u64, recurrence: Recurrence, stamp: Millis) -> Option<Millis> {
        let due = recurrence.next_after(stamp, stamp)?;
        let template = Template { recurrence, start: stamp, due, left: recurrence.count };
        self.special().kept.templates.insert(seq, template);
        Some(due)
    }

    /// Durable: message `copy` has just come in, which a template made for time `due`. `None`: it should not have.
    /// Otherwise whether that was the template's last.
    pub(super) fn made(&mut self, template: u64, due: Millis, copy: u64, stamp: Millis) -> Option<bool> {
        let templates = &mut self.special().kept.templates;
        let entry = templates.get_mut(&template).filter(|entry| entry.due == due)?;
        let is_last = entry.left == 1;
        entry.left = entry.left.saturating_sub(1);
        match entry.recurrence.next_after(entry.start, stamp.max(due)).filter(|_| !is_last) {
            Some(next) => {
                entry.due = next;
                self.with_lanes(Some(copy)).arm(next, template);
                Some(false)
            }
            None => {
                templates.remove(&template);
                Some(true)
            }
        }
    }

    /// Schedules that go on.
    pub fn templates(&self) -> u64 {
        self.special.as_deref().map_or(0, |special| special.kept.templates.len() as u64)
    }
}

impl Dispatch<'_> {
    /// Makes the copies that are due. Each template then waits until its copy has been applied.
    pub(super) fn make_copies(&mut self, queue: &mut Queue) {
        let mut bytes = 0;
        while bytes < ROUND_BYTES_MAX
            && let Some((due, seq)) = queue.lanes().and_then(|lanes| lanes.first_armed(self.time_of_log))
        {
            let message = match self.find(queue, seq) {
                Found::At(message) => Some(message),
                Found::Gone => None,
                Found::Later => return,
            };
            if let Some(message) = message {
                let Some(block) = self.cache.get(message.lsn) else { return self.read(queue, message.lsn) };
                let found = record::at(&block.payload, message.offset).ok();
                if let Some(publish) = found.and_then(|found| Publish::decode(found.body)) {
                    let mut copy = Vec::new();
                    put_copy(&mut copy, &publish, queue.at.id.0, (seq, due));
                    bytes += copy.len();
                    self.copies.push(copy);
                }
            }
            if let Some(lanes) = queue.lanes() {
                lanes.withdraw(due, seq);
            }
        }
    }
}

impl Queues {
    /// Copies go into the open block, or into a later one if the log refuses that.
    pub(crate) fn propose_copies(&mut self, proposals: &mut Proposals) {
        for copy in std::mem::take(&mut self.copies) {
            proposals.insist(copy, 1, Provisioned::Reconciled);
        }
    }
}

fn put_copy(out: &mut Vec<u8>, template: &Publish<'_>, queue: u32, made_by: (u64, Millis)) {
    let Publish { flags, exchange, routing_key, properties, body, .. } = *template;
    let extras = Extras {
        delay_ms: None,
        deliver_at: None,
        dedup: None,
        window: None,
        from: None,
        handle: None,
        recurrence: None,
        made_by: Some(made_by),
        ..template.extras
    };
    let (queues, body) = ([queue].into_iter(), [body].into_iter());
    Publish::encode_with(out, flags, queues, exchange, routing_key, properties, &extras, body);
}
