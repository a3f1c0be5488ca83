//! The house rules that a program can check.

use std::fs;
use std::path::{Path, PathBuf};

fn source_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(source_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// What each module of the crate's top level may use. The leaves use nothing.
const MAY_USE: &[(&str, &[&str])] = &[
    ("boolean", &[]),
    ("duration", &[]),
    ("lock", &[]),
    ("thread", &[]),
    ("queue", &["lock"]),
    ("time", &[]),
    ("socket", &[]),
    ("journal", &["queue", "thread"]),
    ("pulse", &[]),
    ("inherited", &["config", "socket"]),
    ("systemd", &["pulse", "queue", "thread"]),
    ("cli", &["config", "duration", "terminal"]),
    // A client like any other: it knows of the daemon what the API says.
    ("terminal", &["config", "jsonapi", "lock", "thread"]),
    ("config", &["boolean", "duration"]),
    ("jsonapi", &["boolean", "duration", "time"]),
    ("protocol", &[]),
    ("registry", &["config", "lock", "queue"]),
    ("events", &["journal", "jsonapi", "registry", "time"]),
    (
        "relay",
        &[
            "config",
            "inherited",
            "protocol",
            "pulse",
            "queue",
            "registry",
            "socket",
            "thread",
        ],
    ),
    (
        "admin",
        &[
            "config",
            "duration",
            "events",
            "inherited",
            "jsonapi",
            "lock",
            "pulse",
            "registry",
            "socket",
            "thread",
            "time",
        ],
    ),
    (
        "daemon",
        &[
            "admin",
            "config",
            "events",
            "inherited",
            "registry",
            "relay",
            "systemd",
        ],
    ),
];

#[test]
fn imports_run_one_way() {
    let source = source();
    for path in source_files(&source) {
        let name = path
            .strip_prefix(&source)
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let module = name.split('/').next().unwrap().trim_end_matches(".rs");
        if matches!(module, "lib" | "main") {
            continue;
        }
        let (_, may_use) = MAY_USE
            .iter()
            .find(|(of, _)| *of == module)
            .unwrap_or_else(|| panic!("{module} is new here"));
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            // A test inside a file may set up what it needs.
            if line == "#[cfg(test)]" {
                break;
            }
            for used in line.split("crate::").skip(1) {
                let used: String = used
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                let fine = used == module || may_use.contains(&used.as_str());
                assert!(fine, "{name}:{}: {module} must not use {used}", number + 1);
            }
        }
    }
}

#[test]
fn every_file_says_what_it_is() {
    for path in source_files(Path::new(env!("CARGO_MANIFEST_DIR"))) {
        if path.components().any(|part| part.as_os_str() == "target") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//! "), "{}", path.display());
    }
}
