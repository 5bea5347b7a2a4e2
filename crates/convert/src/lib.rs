//! What an AMQP message looks like to the rest of the broker: to exchanges ([`Routable`], [`to_table`]), to queues that
//! want to know something of it ([`Wants`]), and to topics, as a record ([`append_record`]) and back
//! ([`read_record`]).
//!
//! Two need that: sessions, and the broker itself where it publishes: dead letters, to begin with. For the latter
//! [`parcels`] does all of it: a message and where it goes in, records for each shard out.

mod hash;
mod parcels;
mod record;
mod routable;
mod table;
mod wants;

pub use hash::{hash64, hash128};
pub use parcels::{Parcel, Posted, parcels};
pub use record::{
    FieldBuffer, HeaderBuffer, Incoming, Message, Outgoing, append_record, partition_of, read_record,
};
pub use routable::{Routable, step};
pub use table::{to_table, to_value};
pub use wants::{Of, Wants};
