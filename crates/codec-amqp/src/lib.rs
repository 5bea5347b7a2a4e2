//! codec-amqp
