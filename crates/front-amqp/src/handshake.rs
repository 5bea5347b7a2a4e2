//! From the protocol header to connection.open, and the methods of the connection class after that.

use std::sync::Arc;

use bowline_codec_amqp::frame::PROTOCOL_HEADER;
use bowline_codec_amqp::methods::*;
use bowline_codec_amqp::{FieldTable, Frame, FrameKind, ProtocolHeader, ReplyCode, ShortStr, TableRef};
use bowline_model::meta::MetaRequest;
use bowline_replica::Full;
use bowline_topology::access::IMPERSONATOR;
use bowline_topology::password;

use crate::broker::{Broker, look_up};
use crate::exchanges::text;
use crate::login::{Mechanism, mechanisms};
use crate::options::{CLOSE_OK_MS_MAX, FRAME_MIN, LEAVING_MS_MAX, SILENT_REFUSAL_MS};
use crate::refusal::{Refusal, Step};
use crate::session::{Phase, Session};
use crate::token::Asker;

/// What the client told about itself.
#[derive(Debug, Default)]
pub(crate) struct Client {
    pub user: Arc<str>,
    /// It may publish under other users' names (RabbitMQ's tag `impersonator`).
    pub may_impersonate: bool,
    /// `connection_name` of its properties.
    pub name: Option<String>,
    pub capabilities: Capabilities,
}

/// Capabilities of the client that change what we send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Capabilities {
    pub consumer_cancel_notify: bool,
    pub connection_blocked: bool,
    pub authentication_failure_close: bool,
}

impl Session {
    pub(crate) fn protocol_header(&mut self, header: ProtocolHeader) {
        if header == ProtocolHeader::Unsupported {
            self.out.staged().extend_from_slice(&PROTOCOL_HEADER);
            self.phase = Phase::Over;
            return;
        }
        let properties = server_properties(&self.options.cluster_name).to_bytes();
        self.reply(
            0,
            ConnectionStart {
                version_major: 0,
                version_minor: 9,
                server_properties: TableRef::parse(&properties).expect("built by the codec itself"),
                mechanisms: mechanisms(self.peer.certified.is_some()),
                locales: b"en_US",
            },
        );
        self.phase = Phase::Start;
    }

    pub(crate) fn handshake_frame(&mut self, frame: &Frame<'_>, broker: &mut dyn Broker) -> Step {
        if frame.channel != 0 {
            return Err(Refusal::new(
                ReplyCode::ChannelError,
                "a channel other than 0 before connection.open",
            ));
        }
        if frame.kind != FrameKind::Method {
            return Err(Refusal::new(ReplyCode::UnexpectedFrame, "expected a method frame"));
        }
        match (self.phase, Method::decode(frame.payload)?) {
            (Phase::Start, Method::ConnectionStartOk(method)) => self.start_ok(&method, broker),
            (Phase::Tune, Method::ConnectionTuneOk(method)) => self.tune_ok(&method),
            (Phase::Open, Method::ConnectionOpen(method)) => self.open(&method, broker),
            (Phase::Tune | Phase::Open, Method::ConnectionClose(_)) => {
                self.reply(0, ConnectionCloseOk);
                self.phase = Phase::Over;
                Ok(())
            }
            (_, method) => Err(Refusal::new(
                ReplyCode::CommandInvalid,
                format!("unexpected method {} during the handshake", method.name()),
            )),
        }
    }

    fn start_ok(&mut self, method: &ConnectionStartOk<'_>, broker: &mut dyn Broker) -> Step {
        self.client.capabilities = capabilities(method.client_properties);
        self.client.name = method
            .client_properties
            .get("connection_name")
            .and_then(|name| name.as_str())
            .map(|name| name[..name.floor_char_boundary(255)].to_string());
        let offered =
            |mechanism: &Mechanism| *mechanism != Mechanism::External || self.peer.certified.is_some();
        let Some(mechanism) = Mechanism::named(method.mechanism.as_bytes()).filter(offered) else {
            return Err(Refusal::new(
                ReplyCode::CommandInvalid,
                format!("unknown authentication mechanism '{}'", method.mechanism),
            ));
        };
        let credentials = mechanism.read(method.response);
        let user = match (mechanism, &credentials, &self.peer.certified) {
            (Mechanism::External, _, Some(certified)) => certified,
            (_, Some(credentials), _) => credentials.user,
            _ => "",
        };
        let from_here = self.peer.is_loopback;
        let accepted = match (mechanism, &credentials) {
            (Mechanism::External, _) => look_up(broker, |topology| topology.may_log_in(user, from_here)),
            (_, None) => false,
            (_, Some(credentials)) => {
                // The hash is taken out of the topology first: checking it takes its time.
                let hash = look_up(broker, |topology| topology.login(user, from_here));
                hash.is_some_and(|hash| password::accepts(&hash, credentials.password))
            }
        };
        if !accepted {
            tracing::warn!(peer = %self.peer.address, user, mechanism = mechanism.name(), "login refused");
            return self.refuse_login(mechanism);
        }
        self.client.user = user.into();
        self.reply(
            0,
            ConnectionTune {
                channel_max: self.options.channel_max,
                frame_max: self.options.frame_max,
                heartbeat: self.options.heartbeat_s,
            },
        );
        self.phase = Phase::Tune;
        Ok(())
    }

    /// A client that can be told is told; any other sees its socket closed, after a pause (4.2.1 of RabbitMQ's
    /// extension `authentication_failure_close`).
    fn refuse_login(&mut self, mechanism: Mechanism) -> Step {
        if self.client.capabilities.authentication_failure_close {
            return Err(Refusal::new(
                ReplyCode::AccessRefused,
                format!(
                    "Login was refused using authentication mechanism {}. For details see the broker logfile.",
                    mechanism.name()
                ),
            ));
        }
        self.phase = Phase::Silent { until_ms: self.now.elapsed_ms + SILENT_REFUSAL_MS };
        Ok(())
    }

    /// The client may lower what we offered, not raise it; 0 asks for no limit where we have one.
    fn tune_ok(&mut self, method: &ConnectionTuneOk) -> Step {
        let (frame_max, channel_max) = (self.options.frame_max, self.options.channel_max);
        check_tuned("frame_max", method.frame_max, FRAME_MIN, frame_max)?;
        check_tuned("channel_max", method.channel_max.into(), 1, channel_max.into())?;
        self.frame_max = method.frame_max;
        self.channel_max = method.channel_max;
        self.heartbeat_ms = u64::from(method.heartbeat) * 1000;
        self.phase = Phase::Open;
        Ok(())
    }

    fn open(&mut self, method: &ConnectionOpen<'_>, broker: &mut dyn Broker) -> Step {
        let vhost: Arc<str> = text(method.virtual_host)?.into();
        let user = self.client.user.clone();
        let (exists, may_enter, may_impersonate, vhost_max, user_max) = look_up(broker, |topology| {
            (
                topology.has_vhost(&vhost),
                topology.may_enter(&user, &vhost),
                topology.has_tag(&user, IMPERSONATOR),
                topology.vhost_limit(&vhost, "max-connections"),
                topology.user_limit(&user, "max-connections"),
            )
        });
        let refused = |explanation: String| Err(Refusal::new(ReplyCode::NotAllowed, explanation));
        if !exists {
            return refused(format!("vhost {vhost} not found"));
        }
        // RabbitMQ's order: a full vhost says so even to those whom it does not let in.
        let place = match broker.usage().enter((vhost.clone(), vhost_max), (user.clone(), user_max)) {
            Ok(place) => place,
            Err(Full::Vhost) => {
                let max = vhost_max.unwrap_or_default();
                return refused(format!(
                    "access to vhost '{vhost}' refused for user '{user}': connection limit ({max}) is reached"
                ));
            }
            Err(Full::User) => {
                let max = user_max.unwrap_or_default();
                return refused(format!(
                    "connection refused for user '{user}': user connection limit ({max}) is reached"
                ));
            }
        };
        if !may_enter {
            return refused(format!("access to vhost '{vhost}' refused for user '{user}'"));
        }
        self.place = Some(place);
        self.client.may_impersonate = may_impersonate;
        self.vhost = vhost;
        self.routes.begin(self.vhost.clone(), self.client.user.clone());
        self.reply(0, ConnectionOpenOk);
        self.phase = Phase::Running;
        tracing::debug!(
            peer = %self.peer.address,
            session = broker.session_id().0,
            user = &*self.client.user,
            name = self.client.name.as_deref().unwrap_or(""),
            "AMQP connection opened"
        );
        Ok(())
    }

    /// A frame on channel 0 of an open connection.
    pub(crate) fn connection_frame(&mut self, frame: &Frame<'_>, broker: &mut dyn Broker) -> Step {
        if frame.kind != FrameKind::Method {
            return Err(Refusal::new(ReplyCode::UnexpectedFrame, "content on channel 0"));
        }
        match Method::decode(frame.payload)? {
            Method::ConnectionClose(method) => {
                tracing::debug!(peer = %self.peer.address, code = method.reply_code, "closed by the client");
                self.leave(broker);
                self.delete_exclusive_queues(broker);
                Ok(())
            }
            // Our users have no tokens that expire, so there is nothing to renew; RabbitMQ's internal users
            // are answered the same way.
            Method::ConnectionUpdateSecret(_) => {
                self.reply(0, ConnectionUpdateSecretOk);
                Ok(())
            }
            method => Err(Refusal::new(
                ReplyCode::CommandInvalid,
                format!("unexpected method {} on channel 0", method.name()),
            )),
        }
    }

    /// Sends connection.close and waits for the answer; everything else from the client is ignored.
    pub(crate) fn refuse_connection(&mut self, refusal: Refusal, method: u32, broker: &mut dyn Broker) {
        tracing::info!(peer = %self.peer.address, "closing connection: {}", refusal.text);
        self.close_connection(refusal.code, &refusal.text, method, broker);
    }

    pub(crate) fn close_connection(
        &mut self,
        code: ReplyCode,
        text: &str,
        method: u32,
        broker: &mut dyn Broker,
    ) {
        if matches!(
            self.phase,
            Phase::Leaving { .. } | Phase::Closing { .. } | Phase::Over | Phase::Silent { .. }
        ) {
            return;
        }
        self.leave(broker);
        let close = ConnectionClose {
            reply_code: code.code(),
            reply_text: ShortStr::truncated(text),
            class_id: (method >> 16) as u16,
            method_id: method as u16,
        };
        self.reply(0, close);
        self.phase = Phase::Closing { until_ms: self.now.elapsed_ms + CLOSE_OK_MS_MAX };
    }

    /// A client that gets close-ok may assume that its exclusive queues are gone and that others see what it has
    /// published; so close-ok waits for both (the specification does not demand it, RabbitMQ keeps it).
    fn delete_exclusive_queues(&mut self, broker: &mut dyn Broker) {
        let session = broker.session_id();
        let names = look_up(broker, |topology| {
            let queues = topology.exclusive_queues_of(session).into_iter();
            let named = queues.filter_map(|queue| topology.queue_by_id(queue));
            named.map(|queue| queue.declared.name.clone()).collect::<Vec<_>>()
        });
        let deletes_left = names.len() as u32;
        for name in names {
            let request = MetaRequest::QueueDelete {
                vhost: self.vhost.to_string(),
                name,
                if_unused: false,
                if_empty: false,
            };
            broker.ask_meta(Asker::Leaving.token(), request);
        }
        self.phase = Phase::Leaving { until_ms: self.now.elapsed_ms + LEAVING_MS_MAX, deletes_left };
    }

    /// One of the connection's exclusive queues is gone.
    pub(crate) fn exclusive_queue_deleted(&mut self) {
        if let Phase::Leaving { deletes_left, .. } = &mut self.phase {
            *deletes_left = deletes_left.saturating_sub(1);
        }
    }

    /// Sends close-ok once nothing is left to wait for.
    pub(crate) fn try_to_leave(&mut self) {
        if matches!(self.phase, Phase::Leaving { deletes_left: 0, .. }) && self.publisher.is_idle() {
            self.reply(0, ConnectionCloseOk);
            self.phase = Phase::Over;
        }
    }

    /// The channels end with the connection. Publishes that were taken still go to their shards.
    fn leave(&mut self, broker: &mut dyn Broker) {
        for number in 0..self.channels.len() {
            self.end_channel(number as u16, broker);
        }
        self.place = None;
    }
}

fn check_tuned(name: &str, value: u32, min: u32, max: u32) -> Step {
    let explanation = if value == 0 {
        format!("negotiated {name} = 0 (no limit) is higher than the maximum allowed value ({max})")
    } else if value > max {
        format!("negotiated {name} = {value} is higher than the maximum allowed value ({max})")
    } else if value < min {
        format!("negotiated {name} = {value} is lower than the minimum allowed value ({min})")
    } else {
        return Ok(());
    };
    Err(Refusal::new(ReplyCode::NotAllowed, explanation))
}

fn capabilities(properties: TableRef<'_>) -> Capabilities {
    let Some(bowline_codec_amqp::Value::Table(table)) = properties.get("capabilities") else {
        return Capabilities::default();
    };
    let has = |name| table.get(name).and_then(|value| value.as_bool()) == Some(true);
    Capabilities {
        consumer_cancel_notify: has("consumer_cancel_notify"),
        connection_blocked: has("connection.blocked"),
        authentication_failure_close: has("authentication_failure_close"),
    }
}

/// Capabilities are listed only when they are kept.
fn server_properties(cluster_name: &str) -> FieldTable {
    let capabilities = [
        "publisher_confirms",
        "exchange_exchange_bindings",
        "basic.nack",
        "consumer_cancel_notify",
        "connection.blocked",
        "consumer_priorities",
        "authentication_failure_close",
        "per_consumer_qos",
        "direct_reply_to",
    ]
    .into_iter()
    .fold(FieldTable::new(), |table, name| table.with(name, true));
    FieldTable::new()
        .with("capabilities", capabilities)
        .with("cluster_name", cluster_name)
        .with("information", "https://github.com/bowline/bowline")
        .with("platform", "Rust")
        .with("product", "Bowline")
        .with("version", env!("CARGO_PKG_VERSION"))
}
