//! tx.select, commit and rollback.
//!
//! What a transactional channel publishes and settles is held in the session. A commit hands the publishes over as one
//! batch for one shard, which keeps what is for others until they have it ([`bowline_model::outbox`]): after a crash
//! all of them are there or none. When they are where they belong the settles follow, and then commit-ok. A commit that
//! fails leaves the settles undone and closes the channel.
//!
//! Publishes are checked when they come, so that what is wrong with them is told at once; they are routed when they are
//! committed. A returned mandatory message precedes commit-ok. If a queue is full and refuses publishes, nothing of the
//! transaction gets into the queues of its shard, and the commit fails; a transaction with such a queue goes to each
//! shard by itself.

use bowline_codec_amqp::Properties;
use bowline_codec_amqp::methods::*;
use bowline_model::request::Outcome;

use crate::broker::Broker;
use crate::channel::Pending;
use crate::consumers::SettleRun;
use crate::options::{TX_BYTES_MAX, TX_RUN_BYTES_MAX, TX_SETTLES_MAX};
use crate::publish::Message;
use crate::refusal::{Refusal, Step};
use crate::session::Session;
use crate::unacked::Slot;

/// What a transaction has done so far.
#[derive(Default)]
pub struct Tx {
    publishes: Vec<Held>,
    /// In the order in which the client settled: tag, delivery, outcome.
    pub settles: Vec<(u64, Slot, Outcome)>,
    /// Octets of `publishes`, overhead included.
    pub bytes: usize,
    /// Part of what is being committed was refused.
    pub failed: bool,
}

struct Held {
    exchange: Box<[u8]>,
    routing_key: Box<[u8]>,
    mandatory: bool,
    properties: Box<[u8]>,
    body: Box<[u8]>,
}

impl Held {
    fn bytes(&self) -> usize {
        size_of::<Held>()
            + self.exchange.len()
            + self.routing_key.len()
            + self.properties.len()
            + self.body.len()
    }
}

impl Session {
    pub(crate) fn tx_select(&mut self, number: u16) -> Step {
        if let Some(channel) = self.channel_mut(number) {
            if channel.confirm.is_some() {
                return Err(Refusal::precondition("cannot switch from confirm to tx mode"));
            }
            channel.tx.get_or_insert_default();
        }
        self.reply(number, TxSelectOk);
        Ok(())
    }

    /// Holds a publish until it is committed.
    pub(crate) fn hold_publish(
        &mut self,
        number: u16,
        message: &Message<'_>,
        broker: &mut dyn Broker,
    ) -> Step {
        self.check_publish(number, message, broker)?;
        let held = Held {
            exchange: message.exchange.into(),
            routing_key: message.routing_key.into(),
            mandatory: message.mandatory,
            properties: message.properties.as_bytes().into(),
            body: message.pieces.concat().into(),
        };
        let bytes = held.bytes();
        if self.tx_bytes + bytes > TX_BYTES_MAX {
            return Err(Refusal::precondition(format!(
                "transactions of one connection are larger than {TX_BYTES_MAX} octets"
            )));
        }
        if let Some(tx) = self.channel_mut(number).and_then(|channel| channel.tx.as_mut()) {
            tx.bytes += bytes;
            tx.publishes.push(held);
            self.tx_bytes += bytes;
        }
        Ok(())
    }

    /// Hands over what the transaction holds.
    pub(crate) fn tx_commit(&mut self, number: u16, broker: &mut dyn Broker) -> Step {
        let publishes = self.take_publishes(number)?;
        if publishes.is_empty() {
            self.committed(number, broker);
            return Ok(());
        }
        // What other channels have published goes by itself, before and after.
        self.close_batch(broker);
        self.publisher.begin_atomic();
        for held in &publishes {
            let message = Message {
                exchange: &held.exchange,
                routing_key: &held.routing_key,
                mandatory: held.mandatory,
                properties: Properties::parse(&held.properties)?,
                pieces: &[&held.body],
            };
            // An exchange may have gone since; then nothing is published at all.
            if let Err(refusal) = self.publish_now(number, &message, broker) {
                return Err(self.give_up_commit(refusal));
            }
        }
        self.close_stream_batches(broker);
        // Several copies of a message may go to one shard.
        if self.publisher.largest_run() > TX_RUN_BYTES_MAX {
            return Err(self.give_up_commit(Refusal::precondition(format!(
                "a transaction is larger than {TX_RUN_BYTES_MAX} octets, with the copies that its queues take"
            ))));
        }
        self.close_batch(broker);
        self.publisher.end_atomic();
        self.behind_publishes.push(number);
        self.wait(number, 0, TxCommit::ID, Pending::Commit);
        Ok(())
    }

    fn give_up_commit(&mut self, refusal: Refusal) -> Refusal {
        self.stream_batches.clear();
        self.publisher.discard_atomic();
        refusal
    }

    /// The publishes of a transaction are where they go, or were refused.
    pub(crate) fn committed(&mut self, number: u16, broker: &mut dyn Broker) {
        let Some(Some(channel)) = self.channels.get_mut(usize::from(number)) else { return };
        let Some(tx) = &mut channel.tx else { return };
        if std::mem::take(&mut tx.failed) {
            let refusal = Refusal::precondition("partial tx completion");
            return self.refuse(refusal, number, TxCommit::ID, broker);
        }
        let mut stream_credit = false;
        let mut settles = std::mem::take(&mut tx.settles).into_iter().peekable();
        while let Some((_, _, outcome)) = settles.peek().copied() {
            let mut run = SettleRun::new(&mut self.consumers, &mut self.settles, outcome);
            while let Some((_, slot, _)) = settles.next_if(|(_, _, next)| *next == outcome) {
                run.add(slot);
            }
            stream_credit |= run.finish();
        }
        self.reply(number, TxCommitOk);
        if stream_credit {
            self.credit_streams(number);
        }
        self.release_held(number, broker);
    }

    /// Forgets the publishes, and what was settled is unsettled again.
    pub(crate) fn tx_rollback(&mut self, number: u16) -> Step {
        drop(self.take_publishes(number)?);
        if let Some(channel) = self.channel_mut(number)
            && let Some(tx) = &mut channel.tx
        {
            for (tag, slot, _) in std::mem::take(&mut tx.settles) {
                channel.unacked.put_back(tag, slot);
            }
        }
        self.reply(number, TxRollbackOk);
        Ok(())
    }

    fn take_publishes(&mut self, number: u16) -> Step<Vec<Held>> {
        let tx = self.channel_mut(number).and_then(|channel| channel.tx.as_mut());
        let Some(tx) = tx else { return Err(Refusal::precondition("channel is not transactional")) };
        let publishes = std::mem::take(&mut tx.publishes);
        let bytes = std::mem::take(&mut tx.bytes);
        self.tx_bytes -= bytes;
        Ok(publishes)
    }
}

impl Tx {
    /// Notes a settle. It takes effect with the commit.
    pub fn settle(&mut self, tag: u64, slot: Slot, outcome: Outcome) {
        self.settles.push((tag, slot, outcome));
    }

    /// Whether the client has settled more than we are ready to remember.
    pub fn is_full(&self) -> bool {
        self.settles.len() >= TX_SETTLES_MAX
    }
}
