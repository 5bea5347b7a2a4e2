//! What RabbitMQ users do, with lapin.

use bowline_lapin_tests::{Broker, unique};
use futures_lite::StreamExt;
use futures_lite::future::block_on;
use lapin::message::Delivery;
use lapin::options::*;
use lapin::publisher_confirm::Confirmation;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer, ExchangeKind};

async fn connect(broker: &Broker) -> Connection {
    Connection::connect(&broker.uri(), ConnectionProperties::default()).await.expect("a connection")
}

async fn publish(channel: &Channel, exchange: &str, key: &str, body: &[u8]) -> Confirmation {
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    let properties = BasicProperties::default().with_delivery_mode(2);
    let sent = channel.basic_publish(exchange, key, options, body, properties).await.expect("it is sent");
    sent.await.expect("it is confirmed")
}

async fn consume(channel: &Channel, queue: &str) -> Consumer {
    let options = BasicConsumeOptions::default();
    channel.basic_consume(queue, "", options, FieldTable::default()).await.expect("a consumer")
}

async fn take(consumer: &mut Consumer, n: usize) -> Vec<Delivery> {
    let mut got = Vec::new();
    while got.len() < n {
        got.push(consumer.next().await.expect("the consumer lives").expect("a delivery"));
    }
    got
}

async fn durable(channel: &Channel, queue: &str) {
    let options = QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare(queue, options, FieldTable::default()).await.expect("declared");
}

#[test]
fn confirms_and_acknowledgements() {
    let broker = Broker::new();
    block_on(async {
        let channel = connect(&broker).await.create_channel().await.unwrap();
        let queue = unique("confirms");
        durable(&channel, &queue).await;
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        for n in 0..200 {
            assert!(publish(&channel, "", &queue, format!("{n}").as_bytes()).await.is_ack());
        }
        channel.basic_qos(20, BasicQosOptions::default()).await.unwrap();
        let mut consumer = consume(&channel, &queue).await;
        for n in 0..200 {
            let delivery = &take(&mut consumer, 1).await[0];
            assert_eq!(delivery.data, format!("{n}").as_bytes());
            assert!(!delivery.redelivered);
            delivery.ack(BasicAckOptions::default()).await.unwrap();
        }
        assert_eq!(channel.queue_delete(&queue, QueueDeleteOptions::default()).await.unwrap(), 0);
    });
}

#[test]
fn requeue_and_returns() {
    let broker = Broker::new();
    block_on(async {
        let channel = connect(&broker).await.create_channel().await.unwrap();
        let queue = unique("requeue");
        durable(&channel, &queue).await;
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        publish(&channel, "", &queue, b"x").await;
        let mut consumer = consume(&channel, &queue).await;
        let nack = BasicNackOptions { requeue: true, ..Default::default() };
        take(&mut consumer, 1).await[0].nack(nack).await.unwrap();
        let again = take(&mut consumer, 1).await;
        assert!(again[0].redelivered);
        again[0].ack(BasicAckOptions::default()).await.unwrap();
        let lost = publish(&channel, "", &unique("nowhere"), b"lost").await;
        let returned = lost.take_message().expect("it came back");
        assert_eq!((returned.reply_code, returned.delivery.data.as_slice()), (312, b"lost".as_slice()));
        channel.queue_delete(&queue, QueueDeleteOptions::default()).await.unwrap();
    });
}

#[test]
fn exchanges_and_headers() {
    let broker = Broker::new();
    block_on(async {
        let channel = connect(&broker).await.create_channel().await.unwrap();
        let name = unique("exchange");
        let options = ExchangeDeclareOptions { auto_delete: true, ..Default::default() };
        channel.exchange_declare(&name, ExchangeKind::Topic, options, FieldTable::default()).await.unwrap();
        let exclusive = QueueDeclareOptions { exclusive: true, ..Default::default() };
        let queue = channel.queue_declare("", exclusive, FieldTable::default()).await.unwrap();
        let queue = queue.name().as_str();
        channel
            .queue_bind(queue, &name, "a.#", QueueBindOptions::default(), FieldTable::default())
            .await
            .unwrap();
        let mut headers = FieldTable::default();
        headers.insert("number".into(), AMQPValue::LongLongInt(1 << 40));
        headers.insert("text".into(), AMQPValue::LongString("ü".into()));
        headers.insert("octets".into(), AMQPValue::ByteArray(vec![0, 255].into()));
        headers.insert("void".into(), AMQPValue::Void);
        let properties =
            BasicProperties::default().with_headers(headers.clone()).with_correlation_id("c".into());
        channel
            .basic_publish(&name, "a.b.c", BasicPublishOptions::default(), b"", properties.clone())
            .await
            .unwrap();
        let delivery = &take(&mut consume(&channel, queue).await, 1).await[0];
        assert_eq!(delivery.properties, properties);
        assert_eq!((delivery.exchange.as_str(), delivery.routing_key.as_str()), (name.as_str(), "a.b.c"));
    });
}

#[test]
fn an_error_closes_the_channel_only() {
    let broker = Broker::new();
    block_on(async {
        let connection = connect(&broker).await;
        let channel = connection.create_channel().await.unwrap();
        let passive = QueueDeclareOptions { passive: true, ..Default::default() };
        let name = unique("missing");
        let error = channel.queue_declare(&name, passive, FieldTable::default()).await.unwrap_err();
        assert!(
            error.to_string().contains(&format!("NOT_FOUND - no queue '{name}' in vhost '/'")),
            "{error}"
        );
        assert!(connection.status().connected());
        connection.create_channel().await.unwrap();
    });
}

#[test]
fn confirmed_messages_survive_a_kill() {
    let mut broker = Broker::new();
    if !broker.is_own() {
        return;
    }
    block_on(async {
        let channel = connect(&broker).await.create_channel().await.unwrap();
        durable(&channel, "kept").await;
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        for n in 0..50 {
            publish(&channel, "", "kept", format!("{n}").as_bytes()).await;
        }
        broker.kill_and_restart();
        let channel = connect(&broker).await.create_channel().await.unwrap();
        let got = take(&mut consume(&channel, "kept").await, 50).await;
        let expected: Vec<_> = (0..50).map(|n| format!("{n}").into_bytes()).collect();
        assert_eq!(got.into_iter().map(|delivery| delivery.data).collect::<Vec<_>>(), expected);
    });
}
