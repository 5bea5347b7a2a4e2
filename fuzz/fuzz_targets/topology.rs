//! Commands to the topology as they lie in the log, or as an import of definitions makes them: arguments, policies with
//! their patterns, users, bindings. What is let in must be applied, and come back from a checkpoint.
//!
//! ```text
//! input := (length u8 | postcard of a Command)*
//! ```
#![no_main]

use bowline_fuzz as _;
use bowline_model::SessionId;
use bowline_model::meta::Command;
use bowline_topology::{Check, Defaults, Topology};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut topology = Topology::new(2, Defaults::default());
    let mut rest = data;
    while let [len, more @ ..] = rest {
        let (command, next) = more.split_at(usize::from(*len).min(more.len()));
        rest = next;
        let Ok(command) = postcard::from_bytes::<Command>(command) else { continue };
        match topology.check(&command, SessionId(1)) {
            Check::Refuse(_) => assert!(topology.apply(1, &command).is_err() || matches!(command, Command::QueueRemove { .. })),
            Check::Done(_) => {}
            Check::Log => drop(topology.apply(1, &command).expect("it was let in")),
        }
    }
    let checkpoint = topology.checkpoint();
    let again = Topology::restore(&checkpoint, Defaults::default()).expect("our own");
    assert!(again.checkpoint() == checkpoint, "a checkpoint gives back what it was made of");
});
