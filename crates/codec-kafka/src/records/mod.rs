//! Record batches: the payload of Produce, Fetch and their kin.

mod slices;

pub use slices::Records;
