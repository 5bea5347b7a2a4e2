//! Consumers that do not consume: `x-peek` only looks, and what `x-redrive` acks is moved elsewhere. Bowline's own.

use bowline_codec_amqp::frame::{encode_body_frames, encode_header_frame};
use bowline_codec_amqp::methods::{BasicConsume, BasicReturn};
use bowline_codec_amqp::{FieldValue, ReplyCode, ShortStr, TableRef, Value};
use bowline_model::event::{MessageState, Peeked, PeekedMessage};
use bowline_model::meta::ExchangeKind;
use bowline_model::request::{PeekAt, RedriveTo};
use bowline_model::{BlockRef, QueueId};
use bowline_topology::{Access, Entry};

use crate::broker::{Broker, look_up};
use crate::deliver::{message_at, with_headers, write_message};
use crate::refusal::{Refusal, Step};
use crate::session::Session;

const PEEK: &str = "x-peek";
const PEEK_FROM: &str = "x-peek-from";
const PEEK_COUNT: &str = "x-peek-count";
const PEEK_STATE: &str = "x-peek-state";
const REDRIVE: &str = "x-redrive";

/// What somebody has in mind who sends basic.consume.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Intent {
    Consume,
    Peek { from: u64, count: u64, what: PeekAt },
    Redrive(RedriveTo),
}

impl Intent {
    /// Reads it out of the arguments of a consumer.
    pub fn read(method: &BasicConsume<'_>) -> Step<Intent> {
        let fields = method.arguments;
        let peeks = match find(fields, PEEK) {
            None => false,
            Some(Value::Bool(peeks)) => peeks,
            Some(_) => return Err(invalid("x-peek is not a boolean")),
        };
        let redrives = find(fields, REDRIVE);
        if !peeks {
            let stray =
                [PEEK_FROM, PEEK_COUNT, PEEK_STATE].into_iter().find(|name| find(fields, name).is_some());
            if let Some(name) = stray {
                return Err(invalid(&format!("{name} goes with x-peek")));
            }
        }
        match (peeks, redrives) {
            (false, None) => Ok(Intent::Consume),
            (true, Some(_)) => Err(invalid("x-peek and x-redrive exclude one another")),
            (true, None) if !method.no_ack => {
                Err(invalid("x-peek takes nothing, so there is nothing to acknowledge: it needs no-ack"))
            }
            (true, None) if method.exclusive => Err(invalid("x-peek cannot be exclusive")),
            (true, None) => Ok(Intent::Peek {
                from: number(fields, PEEK_FROM)?.unwrap_or(0),
                count: number(fields, PEEK_COUNT)?.unwrap_or(u64::MAX),
                what: state(fields)?,
            }),
            (false, Some(_)) if method.no_ack => {
                Err(invalid("x-redrive moves what is acknowledged: it cannot be no-ack"))
            }
            (false, Some(Value::LongStr(to))) => {
                let to = std::str::from_utf8(to).ok().and_then(destination);
                to.map(Intent::Redrive)
                    .ok_or_else(|| invalid("x-redrive is none of 'source', 'queue:NAME' and 'exchange:NAME'"))
            }
            (false, Some(_)) => Err(invalid("x-redrive is not a string")),
        }
    }

    /// A stream is read without taking anything, and nothing is moved out of it.
    pub fn refuse_stream(&self, vhost: &str, name: &str) -> Step {
        let argument = match self {
            Intent::Consume => return Ok(()),
            Intent::Peek { .. } => PEEK,
            Intent::Redrive(_) => REDRIVE,
        };
        let text = format!("{argument} not supported by stream queue '{name}' in vhost '{vhost}'");
        Err(Refusal::precondition(text))
    }
}

impl Session {
    /// Whoever redrives publishes: the place has to be there, and the user has to be allowed to.
    pub(crate) fn may_redrive(&self, queue: QueueId, to: &RedriveTo, broker: &dyn Broker) -> Step {
        let exchange = match to {
            RedriveTo::Source | RedriveTo::Queue(_) => "",
            RedriveTo::Exchange(name) => name,
        };
        self.permit(broker, |asking| asking.exchange(Access::Write, exchange))?;
        let (vhost, user) = (&*self.vhost, &self.client.user);
        look_up(broker, |topology| match to {
            RedriveTo::Source => Ok(()),
            RedriveTo::Queue(name) => match topology.entry(vhost, name) {
                None => Err(Refusal::not_found("queue", vhost, name)),
                Some(Entry::Queue(target)) if target.id == queue => {
                    Err(Refusal::precondition(format!("queue '{name}' cannot be redriven into itself")))
                }
                Some(_) => Ok(()),
            },
            RedriveTo::Exchange(name) if name.is_empty() => {
                Err(invalid("x-redrive to the default exchange: say queue:NAME"))
            }
            RedriveTo::Exchange(name) => match topology.exchange(vhost, name) {
                None => Err(Refusal::not_found("exchange", vhost, name)),
                Some(exchange) if exchange.spec.internal => Err(Refusal::new(
                    ReplyCode::AccessRefused,
                    format!("cannot publish to internal exchange '{name}' in vhost '{vhost}'"),
                )),
                // Nobody looks at keys where messages are moved.
                Some(exchange)
                    if exchange.routes_as() == ExchangeKind::Topic
                        && topology.checks_topics(user, vhost, name) =>
                {
                    Err(Refusal::new(
                        ReplyCode::AccessRefused,
                        format!(
                            "x-redrive through exchange '{name}' in vhost '{vhost}': user '{user}' has \
                             permissions by topic there"
                        ),
                    ))
                }
                Some(_) => Ok(()),
            },
        })
    }

    /// What a peeker sees, each message with what is known of it in headers. In the end the broker cancels it.
    pub(crate) fn peeked(&mut self, peeked: &Peeked) {
        let id = peeked.consumer.0;
        let Some(first) = peeked.messages.first() else { return self.peeker_ended(id, peeked.ended) };
        let shard = first.block.shard;
        let mut bytes = 0;
        for message in &peeked.messages {
            bytes += u64::from(message.len);
            self.peeked_one(id, message);
        }
        self.windows.delivered(shard, bytes, self.out.queued_total());
        self.peeker_ended(id, peeked.ended);
    }

    fn peeked_one(&mut self, id: u32, peeked: &PeekedMessage) {
        let Some(consumer) = self.consumers.get(&id) else { return };
        let Some(Some(channel)) = self.channels.get_mut(usize::from(consumer.channel)) else { return };
        let Some(message) = message_at(&peeked.block, peeked.offset) else { return };
        let state = match peeked.state {
            MessageState::Ready => "ready",
            MessageState::Unacked => "unacked",
            MessageState::Delayed => "delayed",
        };
        let mut headers = vec![("x-peek-state", FieldValue::from(state))];
        if let Some(number) = peeked.number {
            headers.push(("x-peek-number", FieldValue::I64(number as i64)));
        }
        if peeked.acquired > 0 {
            headers.push(("x-acquired-count", FieldValue::I64(peeked.acquired.into())));
            headers.push(("x-delivery-count", FieldValue::I64(peeked.failures.into())));
        }
        let properties = with_headers(message.properties, &headers, self.frame_max);
        let properties = properties.as_deref().unwrap_or(message.properties);
        let tag = (channel.unacked.push_settled(), peeked.redelivered);
        write_message(&mut self.out, consumer, tag, &peeked.block, &message, properties, self.frame_max);
    }

    fn peeker_ended(&mut self, id: u32, ended: bool) {
        if ended {
            self.cancelled_by_broker(id);
        }
    }

    /// A message that was acked to be moved found no place: basic.return, as for one that was published so.
    pub(crate) fn unmoved(&mut self, id: u32, block: &BlockRef, offset: u32) {
        let Some(number) = self.consumers.get(&id).map(|consumer| consumer.channel) else { return };
        let Some(message) = message_at(block, offset) else { return };
        self.reply(
            number,
            BasicReturn {
                reply_code: ReplyCode::NoRoute.code(),
                reply_text: ShortStr::truncated("NO_ROUTE"),
                exchange: ShortStr::new(message.exchange).unwrap_or_default(),
                routing_key: ShortStr::new(message.routing_key).unwrap_or_default(),
            },
        );
        let out = self.out.staged();
        encode_header_frame(out, number, message.body.len() as u64, message.properties);
        encode_body_frames(out, number, message.body, self.frame_max);
    }
}

fn destination(text: &str) -> Option<RedriveTo> {
    if text == "source" {
        return Some(RedriveTo::Source);
    }
    let (kind, name) = text.split_once(':')?;
    match kind {
        "queue" if !name.is_empty() && name.len() < 256 => Some(RedriveTo::Queue(name.to_owned())),
        "exchange" if name.len() < 256 => Some(RedriveTo::Exchange(name.to_owned())),
        _ => None,
    }
}

fn state(fields: TableRef<'_>) -> Step<PeekAt> {
    let what = match find(fields, PEEK_STATE) {
        None => Some(PeekAt::Ready),
        Some(Value::LongStr(b"ready")) => Some(PeekAt::Ready),
        Some(Value::LongStr(b"unacked")) => Some(PeekAt::Unacked),
        Some(Value::LongStr(b"delayed")) => Some(PeekAt::Delayed),
        Some(Value::LongStr(b"all")) => Some(PeekAt::All),
        Some(_) => None,
    };
    what.ok_or_else(|| invalid("x-peek-state is none of 'ready', 'unacked', 'delayed' and 'all'"))
}

fn number(fields: TableRef<'_>, name: &str) -> Step<Option<u64>> {
    let Some(value) = find(fields, name) else { return Ok(None) };
    let number = value.as_i64().and_then(|number| u64::try_from(number).ok());
    number.map(Some).ok_or_else(|| invalid(&format!("{name} is not a non-negative integer")))
}

fn find<'a>(fields: TableRef<'a>, name: &str) -> Option<Value<'a>> {
    fields.iter().find(|(key, _)| key.as_bytes() == name.as_bytes()).map(|(_, value)| value)
}

fn invalid(what: &str) -> Refusal {
    Refusal::precondition(format!("invalid arguments of a consumer: {what}"))
}
