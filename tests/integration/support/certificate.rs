//! A certificate that servers show, which nobody has signed.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Makes one in a directory. Returns it and its key.
pub fn certificate(directory: &Path) -> (PathBuf, PathBuf) {
    let (certificate, key) = (directory.join("server.crt"), directory.join("server.key"));
    let output = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ])
        .args(["-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("openssl; `make test` installs it");
    assert!(output.status.success(), "{output:?}");
    (certificate, key)
}
