//! Many seeds, and what to say of one that fails.

use crate::plan::{CLASSES, Class, Plan};
use crate::progress;
use crate::world::{self, Summary};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    static MESSAGE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A broken promise, or a bug that showed itself as a failed assertion of the broker's own.
#[derive(Clone, Debug)]
pub struct Failure {
    pub seed: u64,
    pub step: u32,
    pub message: String,
}

/// Runs one seed.
///
/// # Errors
/// The promise that it broke.
pub fn run(plan: Plan, prints: bool) -> Result<Summary, Failure> {
    quieten_panics();
    progress::set_step(0);
    let seed = plan.seed;
    catch_unwind(AssertUnwindSafe(|| world::run(plan, prints))).map_err(|_| Failure {
        seed,
        step: progress::step(),
        message: MESSAGE.take().unwrap_or_else(|| "a panic without words".to_owned()),
    })
}

/// Tries with fewer steps and fewer kinds of action, as long as it fails all the same. The failure may be another one
/// in the end; it is a shorter way to some.
pub fn shrink(plan: &Plan, failure: Failure) -> (Plan, Failure) {
    let mut best = (plan.clone(), failure);
    best.0.end_after(best.1.step);
    if let Err(failure) = run(best.0.clone(), false) {
        best.1 = failure;
    } else {
        best.0.steps = plan.steps;
    }
    for (class, _) in CLASSES {
        let mut plan = best.0.clone();
        plan.without.push(*class);
        // With fewer kinds other things happen; give it some room to fail.
        for steps in [best.0.steps / 2, best.0.steps] {
            plan.steps = steps;
            if let Err(failure) = run(plan.clone(), false) {
                let before = plan.steps;
                plan.end_after(failure.step);
                plan.steps = plan.steps.min(before);
                best = (plan.clone(), failure);
                break;
            }
        }
    }
    best
}

/// The options that replay `plan`.
pub fn replay_options(plan: &Plan) -> String {
    let mut options = format!("--seed {} --steps {}", plan.seed, plan.steps);
    if let Some(sabotage) = plan.sabotage {
        options += &format!(" --sabotage {}", sabotage.name());
    }
    if !plan.without.is_empty() {
        let names: Vec<&str> = plan.without.iter().map(|class| class_name(*class)).collect();
        options += &format!(" --without {}", names.join(","));
    }
    options
}

pub fn class_name(class: Class) -> &'static str {
    CLASSES.iter().find(|(c, _)| *c == class).map_or("", |(_, name)| name)
}

/// Panics on these threads are findings; they are kept, not printed.
fn quieten_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            let text = info.payload_as_str().unwrap_or("a panic without words");
            let place = info.location().map(|l| format!(" ({}:{})", l.file(), l.line())).unwrap_or_default();
            MESSAGE.set(Some(format!("{text}{place}")));
        }));
    });
}
