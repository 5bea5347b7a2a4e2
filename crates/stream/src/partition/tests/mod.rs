mod compacting;
mod fetching;
mod idempotence;
mod offsets;
mod random;
mod trimming;
mod watching;
