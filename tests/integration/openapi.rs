//! The description of the API for machines, tried out by a machine.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::support::library::Library;

#[test]
fn the_description_is_what_the_server_does() {
    let schemathesis = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin/st");
    assert!(
        schemathesis.exists(),
        "schemathesis is not there; `make test` installs it"
    );
    let library = Library::start();
    for number in 0..5 {
        let session = library.open(number % 2, Some("192.0.2.7:4711"), Duration::from_secs(9));
        library.connect(&session, 0, 5);
    }
    let output = Command::new(schemathesis)
        .args(["run", &format!("http://{}/v1/openapi.json", library.address)])
        .args(["--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", "10", "--seed", "1", "--no-color"])
        // It has no end.
        .args(["--exclude-path", "/v1/sessions/events"])
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}");
    assert!(
        printed.contains("Selected: 25/26\n") && printed.contains("Tested: 25\n"),
        "{printed}"
    );
    library.stop();
}

#[test]
fn it_is_indented_where_that_is_asked_and_one_line_otherwise() {
    let library = Library::start();
    let plain = library.request("GET", "/v1/openapi.json", "Accept: application/json\r\n");
    assert_eq!(
        (plain.status, plain.field("Content-Type")),
        (200, Some("application/json"))
    );
    assert_eq!(plain.body.lines().count(), 1);
    let pretty = library.request("GET", "/v1/openapi.json?pretty", "");
    assert!(pretty.body.starts_with("{\n    \"openapi\": \"3.1.0\",\n"));
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(value(&plain.body), value(&pretty.body));
    library.stop();
}
