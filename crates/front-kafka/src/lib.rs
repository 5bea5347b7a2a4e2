//! front-kafka
