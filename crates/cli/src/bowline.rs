//! Connections of the tools that ask for more than AMQP has.

use std::time::Duration;

use anyhow::ensure;
use bowline_client::address::AmqpAddress;
use bowline_client::amqp::{ConnectOptions, Connection};

/// Connects to a Bowline. Other brokers pass over arguments that they do not know, and would hand out and drop messages
/// that nobody wanted taken: they are refused.
pub fn connect(address: &AmqpAddress, command: &str, timeout: Duration) -> anyhow::Result<Connection> {
    let name = format!("bowline {command}");
    let options = ConnectOptions { timeout, name, ..ConnectOptions::new(address.clone()) };
    let connection = Connection::open(&options)?;
    let product = &connection.server().product;
    ensure!(product == "Bowline", "this is {product}, which cannot {command}: it would take the messages");
    Ok(connection)
}
