//! From the socket to an open connection: protocol header, start, tune, open (2.2.4 of the specification).

use std::time::{Duration, Instant};

use bowline_codec_amqp::frame::PROTOCOL_HEADER;
use bowline_codec_amqp::methods::{ConnectionOpen, ConnectionStartOk, ConnectionTuneOk};
use bowline_codec_amqp::{FieldTable, Method, ShortStr, TableRef};

use super::Connection;
use crate::address::AmqpAddress;
use crate::error::{Error, Result};

/// How to connect.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    pub address: AmqpAddress,
    /// For connecting, for every call, and for a write that the peer does not take.
    pub timeout: Duration,
    /// Asked for in seconds; 0 switches heartbeats off.
    pub heartbeat: u16,
    /// Largest frame that we ask for.
    pub frame_max: u32,
    /// Shown by brokers that list their connections.
    pub name: String,
}

impl ConnectOptions {
    pub fn new(address: AmqpAddress) -> ConnectOptions {
        ConnectOptions {
            address,
            timeout: Duration::from_secs(30),
            heartbeat: 30,
            frame_max: 131_072,
            name: "bowline".into(),
        }
    }
}

/// What the broker said about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Server {
    pub product: String,
    pub version: String,
}

impl Connection {
    /// Connects, logs in and opens the virtual host.
    pub fn open(options: &ConnectOptions) -> Result<Connection> {
        let mut connection = Connection::connect(&options.address.socket, options.timeout)?;
        connection.out().extend_from_slice(&PROTOCOL_HEADER);
        let deadline = Instant::now() + options.timeout;
        connection.start(options, deadline)?;
        connection.tune(options, deadline)?;
        connection.await_method(0, deadline, |method| {
            matches!(method, Method::ConnectionOpenOk(_)).then_some(())
        })?;
        Ok(connection)
    }

    fn start(&mut self, options: &ConnectOptions, deadline: Instant) -> Result<()> {
        let (server, plain) = self.await_method(0, deadline, |method| match method {
            Method::ConnectionStart(start) => {
                let plain = start.mechanisms.split(|octet| *octet == b' ').any(|name| name == b"PLAIN");
                Some((Server::from_properties(start.server_properties), plain))
            }
            _ => None,
        })?;
        self.server = server;
        if !plain {
            return Err(Error::Protocol("the broker does not offer the PLAIN mechanism".into()));
        }
        let AmqpAddress { user, password, .. } = &options.address;
        let properties = client_properties(&options.name).to_bytes();
        let response = format!("\0{user}\0{password}");
        let method = ConnectionStartOk {
            client_properties: TableRef::parse(&properties)?,
            mechanism: ShortStr::truncated("PLAIN"),
            response: response.as_bytes(),
            locale: ShortStr::truncated("en_US"),
        };
        self.send_method(0, &method);
        Ok(())
    }

    fn tune(&mut self, options: &ConnectOptions, deadline: Instant) -> Result<()> {
        let tune = self.await_method(0, deadline, |method| match method {
            Method::ConnectionTune(tune) => Some(*tune),
            _ => None,
        })?;
        // 0 means "no limit" on either side.
        let lower = |ours: u32, theirs: u32| if theirs == 0 { ours } else { ours.min(theirs) };
        let frame_max = lower(options.frame_max, tune.frame_max);
        self.set_limits(frame_max, options.heartbeat);
        self.send_method(
            0,
            &ConnectionTuneOk { channel_max: tune.channel_max, frame_max, heartbeat: options.heartbeat },
        );
        self.send_method(0, &ConnectionOpen { virtual_host: ShortStr::truncated(&options.address.vhost) });
        Ok(())
    }
}

impl Server {
    fn from_properties(properties: TableRef<'_>) -> Server {
        let text =
            |name| properties.get(name).and_then(|value| value.as_str()).unwrap_or_default().to_owned();
        Server { product: text("product"), version: text("version") }
    }
}

fn client_properties(name: &str) -> FieldTable {
    let capabilities = FieldTable::new()
        .with("publisher_confirms", true)
        .with("basic.nack", true)
        .with("consumer_cancel_notify", true)
        .with("connection.blocked", true)
        .with("authentication_failure_close", true);
    FieldTable::new()
        .with("product", "bowline-client")
        .with("version", env!("CARGO_PKG_VERSION"))
        .with("platform", "Rust")
        .with("connection_name", name)
        .with("capabilities", capabilities)
}
