//! Which crate may use which: `ARCHITECTURE.md` says it, this test holds it to the truth.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Crates in the order of the table, top of the stack first.
fn table() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let rows =
        text.lines().skip_while(|l| !l.starts_with("| crate |")).skip(2).take_while(|l| l.starts_with('|'));
    rows.flat_map(|row| {
        let names = row.split('|').nth(1).unwrap().to_owned();
        names.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()
    })
    .collect()
}

/// Crate → crates of ours that it builds on, without those of its tests.
fn edges() -> BTreeMap<String, Vec<String>> {
    let mut edges = BTreeMap::new();
    for entry in std::fs::read_dir(root().join("crates")).unwrap() {
        let dir = entry.unwrap();
        let manifest = std::fs::read_to_string(dir.path().join("Cargo.toml")).unwrap();
        let dependencies = manifest.split("\n[dependencies]\n").nth(1).unwrap_or_default();
        let dependencies = dependencies.split("\n[").next().unwrap_or_default();
        let ours = dependencies.lines().filter_map(|l| l.strip_prefix("bowline-")?.split(['.', ' ']).next());
        edges.insert(dir.file_name().into_string().unwrap(), ours.map(str::to_owned).collect());
    }
    edges
}

#[test]
fn the_table_names_every_crate() {
    let mut named = table();
    named.sort();
    assert_eq!(named, edges().into_keys().collect::<Vec<_>>());
}

#[test]
fn dependencies_point_down_the_table() {
    let order = table();
    let at = |name: &str| order.iter().position(|n| n == name).unwrap();
    for (from, targets) in edges() {
        // The simulation may use everything, and nothing uses it.
        for to in targets.iter().filter(|_| from != "sim") {
            assert!(at(&from) < at(to), "{from} must not depend on {to}");
            assert_ne!(to, "sim");
        }
    }
}

#[test]
fn the_core_is_pure() {
    let edges = edges();
    for (from, allowed) in [
        ("model", &[][..]),
        ("codec-amqp", &[]),
        ("codec-kafka", &[]),
        ("storage", &["model"]),
        ("topology", &["model"]),
        ("stream", &["model"]),
        ("broker", &["model", "stream"]),
        ("convert", &["model", "codec-amqp", "codec-kafka", "topology"]),
        ("dead-letter", &["model", "codec-amqp", "topology", "convert"]),
    ] {
        let extra: Vec<_> = edges[from].iter().filter(|to| !allowed.contains(&to.as_str())).collect();
        assert!(extra.is_empty(), "{from} must not depend on {extra:?}");
    }
    for pure in ["broker", "stream", "topology", "convert", "dead-letter"] {
        assert!(root().join("crates").join(pure).join("clippy.toml").exists(), "{pure} bans clocks and I/O");
    }
}

/// A crate whose tests are one program has to name each file there, or it would never run.
#[test]
fn every_file_of_tests_is_part_of_a_program() {
    for entry in std::fs::read_dir(root().join("crates")).unwrap() {
        let tests = entry.unwrap().path().join("tests");
        let Ok(main) = std::fs::read_to_string(tests.join("main.rs")) else { continue };
        for file in std::fs::read_dir(&tests).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            assert!(
                name == "main" || main.contains(&format!("mod {name};")),
                "{} is left out",
                path.display()
            );
        }
    }
}
