//! The documents name only what exists.

use std::fs;
use std::path::Path;

const DOCUMENTS: [&str; 11] = [
    "ARCHITECTURE.md",
    "README.md",
    "CONTRIBUTING.md",
    "docs/conformance.md",
    "docs/debugging.md",
    "docs/differential.md",
    "docs/differential-reference.md",
    "docs/manuals.md",
    "docs/pc.md",
    "guest/README.md",
    "roms/README.md",
];

/// What stands between backticks and looks like a path of this repository.
fn paths(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2).filter(|part| {
        let first = part.split('/').next().unwrap_or_default();
        let ours = [
            "emu-core",
            "emu-devices",
            "emu-jit",
            "emu-cli",
            "emu-diff",
            "guest",
            "roms",
            "tests",
            "benches",
            "docs",
            ".ci",
        ];
        part.contains('/') && ours.contains(&first) && !part.contains(char::is_whitespace)
    })
}

#[test]
fn every_path_in_the_documents_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace");
    let mut checked = 0;
    for document in DOCUMENTS {
        let text =
            fs::read_to_string(root.join(document)).unwrap_or_else(|error| panic!("{document}: {error}"));
        for path in paths(&text) {
            let beside = root.join(document).with_file_name(path);
            let exists = root.join(path).exists() || beside.exists();
            assert!(exists, "{document} names {path}, which does not exist");
            checked += 1;
        }
    }
    assert!(checked > 20, "only {checked} paths were found: has the notation changed?");
}

/// Every Rust source below a folder, one behind the other.
fn sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("a folder can be listed").path();
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&path).expect("a source is text"));
        }
    }
}

/// A name of a function with stars for what is left out.
fn names(pattern: &str, function: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = function.strip_prefix(pieces.next().unwrap_or_default()) else { return false };
    for piece in pieces {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.is_empty() || pattern.ends_with('*')
}

#[test]
fn every_test_that_the_list_of_tests_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace");
    let mut text = String::new();
    ["tests", "emu-devices", "emu-cli", "roms"].iter().for_each(|name| sources(&root.join(name), &mut text));
    let functions: Vec<&str> =
        text.split("fn ").skip(1).filter_map(|rest| rest.split_once('(')).map(|(name, _)| name).collect();
    let list = fs::read_to_string(root.join("docs/pc.md")).expect("the list is there");
    let mut checked = 0;
    for name in list.split('`').skip(1).step_by(2) {
        let like_a_test = |c: char| c == '_' || c == '*' || c.is_ascii_lowercase() || c.is_ascii_digit();
        if name.chars().filter(|&c| c == '_').count() < 2 || !name.chars().all(like_a_test) {
            continue;
        }
        assert!(functions.iter().any(|function| names(name, function)), "there is no test {name}");
        checked += 1;
    }
    assert!(checked > 25, "only {checked} names were found: has the notation changed?");
}
