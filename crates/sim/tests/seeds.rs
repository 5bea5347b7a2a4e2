//! A few seeds with every test run; `cargo xtask sim` runs thousands.

use bowline_sim::plan::Plan;
use bowline_sim::seeds;

#[test]
fn promises_are_kept() {
    for seed in 0..50 {
        if let Err(failure) = seeds::run(Plan::new(seed, 300), false) {
            let (plan, failure) = seeds::shrink(&Plan::new(seed, 300), failure);
            panic!("{}\ncargo xtask sim {} --trace", failure.message, seeds::replay_options(&plan));
        }
    }
}

#[test]
fn a_seed_gives_the_same_run_twice() {
    for seed in [3, 14, 15, 92] {
        let hash = || seeds::run(Plan::new(seed, 300), false).expect("it keeps its promises").hash;
        assert_eq!(hash(), hash(), "seed {seed}");
    }
}
