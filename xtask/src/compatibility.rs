//! A test of the repository: the pages in `docs/compatibility` name tests for what they say, and those tests exist.
//!
//! A reference is a letter of the page's first table, or a path in backquotes, and then names in backquotes with commas
//! between: ``P `a_test`, `another` ``. In the tables below the first one, each row that says *served* or *differs* has
//! one. A letter may stand for a folder, then a file's name for the tests in it, and a path may leave out folders with
//! `…`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Each page, and how many tests it names at least.
const PAGES: [(&str, usize); 2] = [("docs/compatibility/amqp.md", 100), ("docs/compatibility/kafka.md", 60)];
/// Where files are that are named without a directory.
const PYTHON: &str = "tests/clients/python";

/// What a page refers to.
struct Reference {
    line: usize,
    files: Vec<PathBuf>,
    test: String,
}

/// Files by letter, from the first table: `| **P** | `dir/file`, `file` | … |`.
fn letters(page: &str) -> HashMap<char, Vec<PathBuf>> {
    let mut letters = HashMap::new();
    for line in page.lines().filter(|line| line.starts_with("| **")) {
        let mut cells = line.split('|').skip(1);
        let (Some(names), Some(files)) = (cells.next(), cells.next()) else { continue };
        let files = paths(files);
        for letter in names.chars().filter(char::is_ascii_uppercase) {
            letters.insert(letter, files.clone());
        }
    }
    letters
}

/// Paths in backquotes; one without a directory is in that of the one before it.
fn paths(text: &str) -> Vec<PathBuf> {
    let mut directory = PathBuf::new();
    let mut found = Vec::new();
    for path in text.split('`').skip(1).step_by(2).map(Path::new) {
        let path = if path.components().count() > 1 { path.to_owned() } else { directory.join(path) };
        directory = path.parent().unwrap_or(Path::new("")).to_owned();
        found.push(path);
    }
    found
}

/// All references of a line, in order.
fn references(number: usize, line: &str, letters: &HashMap<char, Vec<PathBuf>>) -> Vec<Reference> {
    // Odd pieces were in backquotes.
    let pieces: Vec<&str> = line.split('`').collect();
    let mut found = Vec::new();
    let mut files: Vec<PathBuf> = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        if at % 2 == 0 {
            let between = piece.trim();
            let letter = between.chars().last().filter(|last| {
                let before = between[..between.len() - last.len_utf8()].chars().last();
                last.is_ascii_uppercase() && !before.is_some_and(char::is_alphanumeric)
            });
            match letter.and_then(|letter| letters.get(&letter)) {
                Some(named) => files = named.clone(),
                // A list goes on with commas, and begins right behind a path.
                None if between == "," || between.is_empty() => {}
                None => files.clear(),
            }
        } else if piece.ends_with(".rs") || piece.ends_with(".py") || piece.ends_with(".java") {
            let directory = if piece.contains('/') { "" } else { PYTHON };
            files = vec![Path::new(directory).join(piece)];
        } else if !files.is_empty() {
            found.push(Reference { line: number, files: files.clone(), test: (*piece).to_owned() });
        }
    }
    found
}

/// The files that a path stands for: itself, all in a folder, or those below a folder that end like it.
fn files_at(path: &Path) -> Vec<PathBuf> {
    let shown = path.to_string_lossy();
    if let Some((folder, end)) = shown.split_once("…/") {
        return files_at(Path::new(folder)).into_iter().filter(|file| file.ends_with(end)).collect();
    }
    if !path.is_dir() {
        return vec![path.to_owned()];
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.flat_map(|entry| files_at(&entry.path())).collect()
}

/// How a test of that name is written in that language.
fn is_defined(name: &str, file: &Path, text: &str) -> bool {
    let definition = match file.extension().and_then(|extension| extension.to_str()) {
        Some("py") => format!("def test_{name}("),
        Some("rs") => format!("fn {name}("),
        Some("go") => format!("func Test{name}("),
        Some("java") => format!("void {name}("),
        Some("js") => format!("test('{}'", name.replace('_', " ")),
        Some("rb") => format!("def test_{name}\n"),
        Some("php") => format!("function test_{name}("),
        _ => return false,
    };
    text.contains(&definition)
}

fn promises(line: &str) -> bool {
    let state = line.split('|').nth(2).unwrap_or_default().trim();
    state == "served" || state.starts_with("served ") || state.starts_with("served:") || state == "differs"
}

#[test]
fn every_row_names_a_test_and_every_test_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for (page, tests_min) in PAGES {
        check(root, page, tests_min);
    }
}

fn check(root: &Path, name: &str, tests_min: usize) {
    let page = std::fs::read_to_string(root.join(name)).unwrap();
    let letters = letters(&page);
    assert!(letters.len() > 10, "the table of letters is not where it was");
    let mut problems = Vec::new();
    let mut checked = 0;
    for (at, line) in page.lines().enumerate().filter(|(_, line)| !line.starts_with("| **")) {
        let references = references(at + 1, line, &letters);
        if line.starts_with('|') && promises(line) && references.is_empty() {
            problems.push(format!("{name}:{}: no test is named: {line}", at + 1));
        }
        for Reference { line, files, test } in references {
            checked += 1;
            let exists = files.iter().flat_map(|file| files_at(&root.join(file))).any(|file| {
                let text = std::fs::read_to_string(&file).unwrap_or_default();
                is_defined(&test, &file, &text) || file.file_stem().is_some_and(|stem| stem == test.as_str())
            });
            if !exists {
                problems.push(format!("{name}:{line}: no test `{test}` in {files:?}"));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(checked > tests_min, "{name}: only {checked} tests are named");
}

#[test]
fn references_are_read() {
    let letters = letters("| **P**, **Q** | `a/b.py`, `c.rs` | the binary |\n");
    assert_eq!(letters[&'Q'], [PathBuf::from("a/b.py"), PathBuf::from("a/c.rs")]);
    let names = |line: &str| references(1, line, &letters).into_iter().map(|r| r.test).collect::<Vec<_>>();
    assert_eq!(
        names("| `x` | served | as `y` · P `one`, `two`; `not` · `d/e.rs` `three` |"),
        ["one", "two", "three"]
    );
    assert!(names("RabbitMQ `x`, the API `y` and Q, `z`").is_empty());
}
