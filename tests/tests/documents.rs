//! The documents name only what exists.

use std::fs;
use std::path::Path;

const DOCUMENTS: [&str; 8] = [
    "ARCHITECTURE.md",
    "README.md",
    "CONTRIBUTING.md",
    "docs/conformance.md",
    "docs/debugging.md",
    "docs/manuals.md",
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
