//! Ctrl-C and SIGTERM as a flag, so that a tool can leave its group, give messages back and print what it has done.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tokio::signal::unix::{SignalKind, signal};

/// The exit status of a process that was interrupted, by the shells' convention.
const INTERRUPTED: i32 = 130;

/// Set once the user wants the tool to end.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Catches the signals from now on. The second one ends the process on the spot. Where the signals cannot be
    /// caught, they keep their usual effect.
    pub fn catch() -> Interrupt {
        let interrupt = Interrupt::default();
        let flag = interrupt.clone();
        let wait = move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else {
                return;
            };
            runtime.block_on(async {
                let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
                let (Ok(mut interrupted), Ok(mut terminated)) = signals else { return };
                loop {
                    tokio::select! {
                        _ = interrupted.recv() => {}
                        _ = terminated.recv() => {}
                    }
                    if flag.0.swap(true, Ordering::SeqCst) {
                        process::exit(INTERRUPTED);
                    }
                }
            });
        };
        // Without the thread the signals simply end the process.
        let _ = thread::Builder::new().name("signals".into()).spawn(wait);
        interrupt
    }

    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
