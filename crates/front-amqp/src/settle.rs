//! basic.ack, nack, reject and recover.

use bowline_codec_amqp::methods::*;
use bowline_model::request::Outcome;

use crate::broker::Broker;
use crate::consumers::SettleRun;
use crate::refusal::{Refusal, Step};
use crate::session::Session;

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
        let outcome = if method.requeue { Outcome::Returned } else { Outcome::Rejected };
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
        self.settle(number, 0, true, Outcome::Returned, broker)?;
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
        let mut run = SettleRun::new(&mut self.consumers, &mut self.settles, outcome);
        let unacked = &mut channel.unacked;
        if multiple && tag == 0 {
            unacked.take_all(|slot| run.add(slot));
        } else if multiple && unacked.contains(tag) {
            unacked.take_upto(tag, |slot| run.add(slot));
        } else if let (false, Some(slot)) = (multiple, unacked.take(tag)) {
            run.add(slot);
        } else {
            return Err(Refusal::precondition(format!("unknown delivery tag {tag}")));
        }
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
