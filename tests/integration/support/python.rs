//! Python with the packages that `make test` installs.

use std::path::Path;
use std::process::{Command, Stdio};

/// The program, not yet started.
pub fn python_program() -> Command {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin/python");
    assert!(
        program.exists(),
        "target/python is not there; `make test` installs it"
    );
    Command::new(program)
}

/// Runs a script, and returns what it printed.
pub fn python(script: &str) -> String {
    let output = python_program()
        .args(["-c", script])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
