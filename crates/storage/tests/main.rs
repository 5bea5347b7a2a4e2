//! The log and its files: one program for all tests, which is quicker to build than one for each file.

mod contract;
mod crash;
mod damage;
mod space;
mod support;
