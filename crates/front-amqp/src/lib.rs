//! front-amqp
