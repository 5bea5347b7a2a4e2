//! `cargo xtask codegen`: Kafka message codecs from the compact schema.
//!
//! Reads `crates/codec-kafka/schema/kafka.json` and writes `src/messages/*.rs` and `src/api_key.rs`
//! of that crate. The output is committed, so that a build needs neither this tool nor a build
//! script; `--check` fails when the committed files differ from what would be written.

mod api_keys;
mod message;
mod names;
mod schema;
mod types;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use names::snake_case;
use schema::Schema;

/// Path inside the crate's `src` folder, and the file's text.
type Files = BTreeMap<String, String>;

pub fn run(args: &[String]) -> Result<()> {
    let check = match args {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => bail!("usage: cargo xtask codegen [--check]"),
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
    let codec = root.join("crates/codec-kafka");
    let schema = Schema::load(&codec.join("schema/kafka.json"))?;
    let files = formatted(generate(&schema)?, root)?;
    let stale = stale_files(&codec.join("src"), &files)?;
    if check {
        let changed = differing(&codec.join("src"), &files);
        ensure!(changed.is_empty() && stale.is_empty(), "out of date: {changed:?}, left over: {stale:?}");
        return Ok(());
    }
    fs::create_dir_all(codec.join("src/messages"))?;
    for path in stale {
        fs::remove_file(path)?;
    }
    for name in differing(&codec.join("src"), &files) {
        fs::write(codec.join("src").join(&name), &files[&name])?;
    }
    println!("{} messages", schema.messages.len());
    Ok(())
}

fn generate(schema: &Schema) -> Result<Files> {
    let mut files = Files::new();
    for message in &schema.messages {
        let text = message::generate(message).with_context(|| message.name.clone())?;
        files.insert(format!("messages/{}.rs", snake_case(&message.name)), text);
    }
    files.insert("messages/mod.rs".into(), message::generate_index(schema));
    files.insert("messages/catalog.rs".into(), message::generate_catalog(schema));
    files.insert("api_key.rs".into(), api_keys::generate(schema)?);
    Ok(files)
}

/// Runs rustfmt over a scratch copy: formatting in place would touch the tree in `--check` too.
fn formatted(files: Files, root: &Path) -> Result<Files> {
    let scratch = std::env::temp_dir().join(format!("bowline-codegen-{}", std::process::id()));
    fs::create_dir_all(scratch.join("messages"))?;
    for (name, text) in &files {
        fs::write(scratch.join(name), text)?;
    }
    // Formatting the two roots formats every module that they declare.
    let status = Command::new("rustfmt")
        .args(["--edition", "2024", "--config-path"])
        .arg(root)
        .args([scratch.join("messages/mod.rs"), scratch.join("api_key.rs")])
        .status()
        .context("run rustfmt")?;
    ensure!(status.success(), "rustfmt refused the generated code in {}", scratch.display());
    let mut result = Files::new();
    for name in files.into_keys() {
        let text = fs::read_to_string(scratch.join(&name))?;
        result.insert(name, text);
    }
    fs::remove_dir_all(&scratch)?;
    Ok(result)
}

fn differing(src: &Path, files: &Files) -> Vec<String> {
    let differs = |name: &String| fs::read_to_string(src.join(name)).ok().as_ref() != files.get(name);
    files.keys().filter(|name| differs(name)).cloned().collect()
}

/// Message files that no message in the schema produces any more.
fn stale_files(src: &Path, files: &Files) -> Result<Vec<PathBuf>> {
    let mut stale = Vec::new();
    let Ok(listing) = fs::read_dir(src.join("messages")) else { return Ok(stale) };
    for entry in listing {
        let entry = entry?;
        if !files.contains_key(&format!("messages/{}", entry.file_name().to_string_lossy())) {
            stale.push(entry.path());
        }
    }
    Ok(stale)
}

#[cfg(test)]
mod tests {
    #[test]
    fn committed_code_is_what_the_schema_says() {
        super::run(&["--check".to_owned()]).unwrap();
    }
}
