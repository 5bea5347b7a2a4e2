//! AMQP sessions without sockets: one program for all tests, which is quicker to build than one for each file.

mod connections;
mod conversations;
mod groups;
mod hostile;
mod permissions;
mod publishing;
mod replies;
mod transactions;
mod world;
