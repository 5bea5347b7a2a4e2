//! The methods of the exchange class. The topology decides; this file asks it and answers.

use bowline_codec_amqp::methods::*;
use bowline_codec_amqp::{ReplyCode, ShortStr, TableRef};
use bowline_convert::to_table;
use bowline_model::meta::{Binding, Command, Destination, ExchangeSpec, MetaRequest, Table};
use bowline_topology::{Access, arguments, names, refusal};

use crate::broker::{Broker, look_up};
use crate::channel::{Pending, Reply};
use crate::options::ARGUMENTS_BYTES_MAX;
use crate::refusal::{Refusal, Step};
use crate::session::Session;
use crate::token::Asker;

impl Session {
    pub(crate) fn exchange_declare(
        &mut self,
        number: u16,
        method: &ExchangeDeclare<'_>,
        broker: &mut dyn Broker,
    ) -> Step {
        let name = declared_name(method.exchange)?;
        if method.passive {
            if name.is_empty() {
                return Err(Refusal::new(
                    ReplyCode::AccessRefused,
                    "operation not permitted on the default exchange",
                ));
            }
            let vhost = &*self.vhost;
            if look_up(broker, |topology| topology.exchange(vhost, &name).is_none()) {
                return Err(refusal::no_exchange(vhost, &name).into());
            }
            self.reply_unless(method.no_wait, number, ExchangeDeclareOk);
            return Ok(());
        }
        let kind = arguments::exchange_kind(&text(method.exchange_type)?)?;
        let declared = declared_arguments(method.arguments)?;
        self.permit(broker, |asking| {
            asking.exchange(Access::Configure, &name)?;
            let is_new = asking.topology.exchange(asking.vhost, &name).is_none();
            let forwards = declared.iter().any(|(name, _)| name == arguments::ALTERNATE_EXCHANGE);
            if is_new && forwards {
                asking.exchange(Access::Read, &name)?;
                asking.forwarding(&declared, arguments::ALTERNATE_EXCHANGE)?;
            }
            Ok(())
        })?;
        let command = Command::ExchangeDeclare(ExchangeSpec {
            vhost: self.vhost.to_string(),
            name,
            kind,
            durable: method.durable,
            auto_delete: method.auto_delete,
            internal: method.internal,
            arguments: declared,
        });
        self.ask(number, ExchangeDeclare::ID, command, Reply::ExchangeDeclare, method.no_wait, broker);
        Ok(())
    }

    pub(crate) fn exchange_delete(
        &mut self,
        number: u16,
        method: &ExchangeDelete<'_>,
        broker: &mut dyn Broker,
    ) -> Step {
        let name = declared_name(method.exchange)?;
        self.permit(broker, |asking| asking.exchange(Access::Configure, &name))?;
        let command =
            Command::ExchangeDelete { vhost: self.vhost.to_string(), name, if_unused: method.if_unused };
        self.ask(number, ExchangeDelete::ID, command, Reply::ExchangeDelete, method.no_wait, broker);
        Ok(())
    }

    pub(crate) fn exchange_bind(
        &mut self,
        number: u16,
        method: &ExchangeBind<'_>,
        broker: &mut dyn Broker,
    ) -> Step {
        let binding = Binding {
            vhost: self.vhost.to_string(),
            source: declared_name(method.source)?,
            destination: Destination::Exchange(declared_name(method.destination)?),
            routing_key: text(method.routing_key)?,
            arguments: declared_arguments(method.arguments)?,
        };
        self.permit_binding(&binding, broker)?;
        let command = Command::Bind(binding);
        self.ask(number, ExchangeBind::ID, command, Reply::ExchangeBind, method.no_wait, broker);
        Ok(())
    }

    pub(crate) fn exchange_unbind(
        &mut self,
        number: u16,
        method: &ExchangeUnbind<'_>,
        broker: &mut dyn Broker,
    ) -> Step {
        let binding = Binding {
            vhost: self.vhost.to_string(),
            source: declared_name(method.source)?,
            destination: Destination::Exchange(declared_name(method.destination)?),
            routing_key: text(method.routing_key)?,
            arguments: declared_arguments(method.arguments)?,
        };
        self.permit_binding(&binding, broker)?;
        let command = Command::Unbind(binding);
        self.ask(number, ExchangeUnbind::ID, command, Reply::ExchangeUnbind, method.no_wait, broker);
        Ok(())
    }

    /// Binding and unbinding need write on the destination and read on the source.
    pub(crate) fn permit_binding(&self, binding: &Binding, broker: &dyn Broker) -> Step {
        self.permit(broker, |asking| {
            match &binding.destination {
                Destination::Queue(name) => asking.queue(Access::Write, name)?,
                Destination::Exchange(name) => asking.exchange(Access::Write, name)?,
            }
            asking.exchange(Access::Read, &binding.source)?;
            asking.topic(Access::Read, &binding.source, &binding.routing_key)
        })
    }

    /// Proposes a command; `reply` goes out when it was applied, unless the client wants none.
    pub(crate) fn ask(
        &mut self,
        number: u16,
        method: u32,
        command: Command,
        reply: Reply,
        no_wait: bool,
        broker: &mut dyn Broker,
    ) {
        let operation = self.new_operation();
        let token = Asker::Channel { channel: number, operation }.token();
        broker.ask_meta(token, MetaRequest::Propose(command));
        let pending = Pending::Meta { reply: (!no_wait).then_some(reply) };
        self.wait(number, operation, method, pending);
    }

    pub(crate) fn send_reply(&mut self, number: u16, reply: Reply) {
        match reply {
            Reply::ExchangeDeclare => self.reply(number, ExchangeDeclareOk),
            Reply::ExchangeDelete => self.reply(number, ExchangeDeleteOk),
            Reply::ExchangeBind => self.reply(number, ExchangeBindOk),
            Reply::ExchangeUnbind => self.reply(number, ExchangeUnbindOk),
            Reply::QueueBind => self.reply(number, QueueBindOk),
            Reply::QueueUnbind => self.reply(number, QueueUnbindOk),
        }
    }
}

/// The topology keeps names and keys as text.
pub(crate) fn text(short: ShortStr<'_>) -> Step<String> {
    match short.to_str() {
        Some(text) => Ok(text.to_string()),
        None => Err(Refusal::new(ReplyCode::SyntaxError, format!("'{short}' is not valid UTF-8"))),
    }
}

/// A name as a client declares it, CR and LF removed as RabbitMQ does.
pub(crate) fn declared_name(short: ShortStr<'_>) -> Step<String> {
    Ok(names::cleaned(&text(short)?))
}

/// Arguments stay in memory and in every checkpoint, so they are bounded.
pub(crate) fn declared_arguments(fields: TableRef<'_>) -> Step<Table> {
    let size = fields.as_bytes().len();
    if size > ARGUMENTS_BYTES_MAX {
        return Err(Refusal::precondition(format!(
            "arguments of {size} octets are larger than the maximum of {ARGUMENTS_BYTES_MAX}"
        )));
    }
    Ok(to_table(fields))
}
