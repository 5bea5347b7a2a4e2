//! basic.ack, nack, reject and recover.

use bowline_codec_amqp::methods::*;
use bowline_model::request::Outcome;

use crate::broker::Broker;
use crate::consumers::SettleRun;
use crate::options::TX_SETTLES_MAX;
use crate::refusal::{Refusal, Step};
use crate::session::Session;
use crate::unacked::{Slot, Unacked};

impl Session {
    pub(crate) fn basic_ack(&mut self, number: u16, method: &BasicAck, broker: &mut dyn Broker) -> Step {
        self.settle(number, method.delivery_tag, method.multiple, Outcome::Acked, broker)
    }

    pub(crate) fn basic_nack(&mut self, number: u16, method: &BasicNack, broker: &mut dyn Broker) -> Step {
        let outcome = if method.requeue { Outcome::Returned } else { Outcome::Rejected };
        self.settle(number, method.delivery_tag, method.multiple, outcome, broker)
    }

    pub(crate) fn basic_reject(
        &mut self,
        number: u16,
        method: &BasicReject,
        broker: &mut dyn Broker,
    ) -> Step {
        let outcome = if method.requeue { Outcome::Failed } else { Outcome::Rejected };
        self.settle(number, method.delivery_tag, false, outcome, broker)
    }

    /// Requeues everything that the channel has not settled.
    pub(crate) fn basic_recover(
        &mut self,
        number: u16,
        requeue: bool,
        answer: bool,
        broker: &mut dyn Broker,
    ) -> Step {
        if !requeue {
            return Err(Refusal::not_implemented("requeue=false"));
        }
        // Not part of a transaction: the client asks for deliveries now.
        let tx = self.channel_mut(number).and_then(|channel| channel.tx.take());
        let recovered = self.settle(number, 0, true, Outcome::Returned, broker);
        if let Some(channel) = self.channel_mut(number) {
            channel.tx = tx;
        }
        recovered?;
        if answer {
            self.reply(number, BasicRecoverOk);
        }
        Ok(())
    }

    /// With `multiple`, all tags up to `tag`, and tag 0 means all there are. The tag itself must be unsettled,
    /// as RabbitMQ demands.
    fn settle(
        &mut self,
        number: u16,
        tag: u64,
        multiple: bool,
        outcome: Outcome,
        broker: &mut dyn Broker,
    ) -> Step {
        let Some(channel) = self.channels.get_mut(usize::from(number)).and_then(Option::as_mut) else {
            return Ok(());
        };
        let unacked = &mut channel.unacked;
        if let Some(tx) = &mut channel.tx {
            if tx.is_full() {
                return Err(Refusal::precondition(format!(
                    "a transaction settles more than {TX_SETTLES_MAX} deliveries"
                )));
            }
            return take(unacked, tag, multiple, |tag, slot| tx.settle(tag, slot, outcome));
        }
        let mut run = SettleRun::new(&mut self.consumers, &mut self.settles, outcome);
        take(unacked, tag, multiple, |_, slot| run.add(slot))?;
        let held = !channel.held.is_empty();
        if run.finish() {
            self.credit_streams(number);
        }
        if held {
            self.release_held(number, broker);
        }
        Ok(())
    }
}

/// Takes what a settling method names.
#[inline]
fn take(unacked: &mut Unacked, tag: u64, multiple: bool, mut each: impl FnMut(u64, Slot)) -> Step {
    if multiple && tag == 0 {
        unacked.take_all(each);
    } else if multiple && unacked.contains(tag) {
        unacked.take_upto(tag, each);
    } else if let (false, Some(slot)) = (multiple, unacked.take(tag)) {
        each(tag, slot);
    } else {
        return Err(Refusal::precondition(format!("unknown delivery tag {tag}")));
    }
    Ok(())
}
