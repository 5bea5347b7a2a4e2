mod compacting;
mod fetching;
mod idempotence;
mod offsets;
mod random;
mod transactions;
mod trimming;
mod watching;
