//! Where a broker is and how to speak to it: `amqp://user:password@host:port/vhost`, `kafka://host:port,host:port`.

use crate::error::{Error, Result};

pub const AMQP_PORT: u16 = 5672;
pub const KAFKA_PORT: u16 = 9092;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Amqp(AmqpAddress),
    Kafka(KafkaAddress),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmqpAddress {
    /// `host:port`
    pub socket: String,
    pub user: String,
    pub password: String,
    pub vhost: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaAddress {
    /// `host:port` of each broker to ask first; at least one.
    pub bootstrap: Vec<String>,
}

impl AmqpAddress {
    /// `guest` at vhost `/` of that `host:port`.
    pub fn at(socket: impl Into<String>) -> AmqpAddress {
        AmqpAddress {
            socket: socket.into(),
            user: "guest".into(),
            password: "guest".into(),
            vhost: "/".into(),
        }
    }
}

impl KafkaAddress {
    pub fn at(socket: impl Into<String>) -> KafkaAddress {
        KafkaAddress { bootstrap: vec![socket.into()] }
    }
}

impl Address {
    /// Reads a URL. What is left out gets the protocol's default: port, `guest:guest`, vhost `/`.
    ///
    /// The RabbitMQ URI specification gives `amqp://host/` the vhost with the empty name; nobody means that, so it
    /// is `/` here, as it is for most clients.
    pub fn parse(url: &str) -> Result<Address> {
        let bad = |reason| Error::Address { url: url.to_owned(), reason };
        let (scheme, rest) = url
            .split_once("://")
            .ok_or(bad("expected amqp://… or kafka://…, for example amqp://localhost"))?;
        match scheme {
            "amqp" => parse_amqp(rest).map(Address::Amqp).map_err(bad),
            "kafka" => parse_kafka(rest).map(Address::Kafka).map_err(bad),
            "amqps" => Err(bad("TLS is not supported")),
            _ => Err(bad("the scheme must be amqp or kafka")),
        }
    }
}

impl std::str::FromStr for Address {
    type Err = Error;

    fn from_str(url: &str) -> Result<Address> {
        Address::parse(url)
    }
}

fn parse_amqp(rest: &str) -> std::result::Result<AmqpAddress, &'static str> {
    let rest = rest.split_once('?').map_or(rest, |(before, _)| before);
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, host) =
        authority.rsplit_once('@').map_or((None, authority), |(login, host)| (Some(login), host));
    let mut address = AmqpAddress::at(with_port(host, AMQP_PORT)?);
    if let Some(login) = login {
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        address.user = percent_decode(user)?;
        address.password = percent_decode(password)?;
    }
    if !path.is_empty() {
        address.vhost = percent_decode(path)?;
    }
    Ok(address)
}

fn parse_kafka(rest: &str) -> std::result::Result<KafkaAddress, &'static str> {
    let hosts = rest.split(['/', '?']).next().unwrap_or_default();
    let bootstrap: std::result::Result<Vec<_>, _> =
        hosts.split(',').map(|host| with_port(host, KAFKA_PORT)).collect();
    Ok(KafkaAddress { bootstrap: bootstrap? })
}

/// Adds the default port where there is none; `[::1]` is an address without a port.
fn with_port(host: &str, port: u16) -> std::result::Result<String, &'static str> {
    if host.is_empty() {
        return Ok(format!("localhost:{port}"));
    }
    let after_bracket = host.rfind(']').map_or(0, |at| at + 1);
    match host[after_bracket..].rsplit_once(':') {
        None => Ok(format!("{host}:{port}")),
        Some((_, digits)) if digits.parse::<u16>().is_ok() => Ok(host.to_owned()),
        Some(_) => Err("the port is not a number below 65536"),
    }
}

fn percent_decode(text: &str) -> std::result::Result<String, &'static str> {
    const BAD: &str = "bad percent-encoding";
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| (byte as char).to_digit(16)).ok_or(BAD);
        let value = digit(bytes.next())? * 16 + digit(bytes.next())?;
        out.push(value as u8);
    }
    String::from_utf8(out).map_err(|_| BAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amqp(url: &str) -> AmqpAddress {
        match Address::parse(url) {
            Ok(Address::Amqp(address)) => address,
            other => panic!("{url}: {other:?}"),
        }
    }

    #[test]
    fn amqp_addresses() {
        assert_eq!(amqp("amqp://localhost"), AmqpAddress::at("localhost:5672"));
        assert_eq!(amqp("amqp://"), AmqpAddress::at("localhost:5672"));
        assert_eq!(amqp("amqp://localhost/"), AmqpAddress::at("localhost:5672"));
        assert_eq!(amqp("amqp://[::1]"), AmqpAddress::at("[::1]:5672"));
        let full = amqp("amqp://a%40b:p%3Aq@h:1/my%2fhost?heartbeat=5");
        let (user, password) = ("a@b".to_owned(), "p:q".to_owned());
        assert_eq!(full, AmqpAddress { socket: "h:1".into(), user, password, vhost: "my/host".into() });
    }

    #[test]
    fn kafka_addresses() {
        let Ok(Address::Kafka(address)) = Address::parse("kafka://a,b:1") else { panic!() };
        assert_eq!(address.bootstrap, ["a:9092", "b:1"]);
    }

    #[test]
    fn refusals() {
        for url in ["localhost", "http://x", "amqps://x", "amqp://h:99999", "amqp://%zz@h", "amqp://h/%f"] {
            assert!(Address::parse(url).is_err(), "{url}");
        }
    }
}
