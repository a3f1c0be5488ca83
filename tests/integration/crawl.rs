//! Every link of every document, followed to its end.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use jsonschema::Validator;
use serde_json::Value;

use super::support::library::Library;

const SCHEMA: &str = include_str!("documents/jsonapi.schema.json");
const BASE: &str = "http://localhost:8989";

fn schema() -> Validator {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    jsonschema::options()
        .should_validate_formats(true)
        .build(&schema)
        .unwrap()
}

fn check(schema: &Validator, text: &str) -> Value {
    let document: Value = serde_json::from_str(text).unwrap();
    let faults: Vec<String> = schema
        .iter_errors(&document)
        .map(|fault| format!("{} at {}", fault, fault.instance_path()))
        .collect();
    assert!(faults.is_empty(), "{faults:#?} in {text}");
    document
}

/// Every string that is a member of an object called `links`.
fn links(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::Object(links) if name == "links" => {
                        found.extend(links.values().map(|link| link.as_str().unwrap().to_owned()));
                    }
                    _ => links(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| links(value, found)),
        _ => {}
    }
}

#[test]
fn every_link_leads_to_a_document_whose_own_link_it_is() {
    let schema = schema();
    let library = Library::start();
    for number in 0..7 {
        let session = library.open(
            number % 2,
            Some("192.0.2.7:4711"),
            Duration::from_secs(number as u64),
        );
        library.connect(&session, 0, 10);
    }
    library.open(1, None, Duration::ZERO);

    let mut seen: BTreeSet<String> = BTreeSet::new();
    let start = [
        "/v1",
        "/v1?pretty",
        "/v1/sessions?page[size]=3",
        "/v1/sessions/?pretty&page[size]=2&page[number]=2&sort=-idle&filter[id]=gt(1)",
        "/v1/services?page[size]=1",
        "/v1/sessions?fields[sessions]=state,connections/0/server",
        "/v1/sessions?fields[sessions]=",
    ];
    let mut next: VecDeque<(String, bool)> = start
        .iter()
        .map(|target| (format!("{BASE}{target}"), false))
        .collect();
    while let Some((link, is_from_a_document)) = next.pop_front() {
        let target = link
            .strip_prefix(BASE)
            .unwrap_or_else(|| panic!("{link} leads away"));
        let answer = library.request("GET", target, "");
        assert_eq!(answer.status, 200, "{link}: {}", answer.body);
        let document = check(&schema, &answer.body);
        if is_from_a_document {
            assert_eq!(
                document.pointer("/links/self").and_then(Value::as_str),
                Some(&link[..])
            );
        }
        // The same with `pretty` is the same document, but for its clocks.
        if !link.contains("pretty") {
            let separator = if target.contains('?') { '&' } else { '?' };
            let pretty = library.request("GET", &format!("{target}{separator}pretty"), "");
            check(&schema, &pretty.body);
            assert!(pretty.body.starts_with("{\n    \"links\": {\n"));
        }
        let mut found = Vec::new();
        links(&document, &mut found);
        assert!(!found.is_empty());
        next.extend(
            found
                .into_iter()
                .filter(|link| seen.insert(link.clone()))
                .map(|link| (link, true)),
        );
    }
    for expected in [
        "/v1/sessions/8",
        "/v1/services/Read/relationships/listeners",
        "/v1/servers/db2",
        "/v1/listeners/",
    ] {
        assert!(
            seen.contains(&format!("{BASE}{expected}")),
            "{expected} in {seen:#?}"
        );
    }
    assert!(
        seen.iter()
            .filter(|link| link.contains("page%5Bnumber%5D"))
            .count()
            > 5
    );
    library.stop();
}

#[test]
fn errors_of_every_layer_are_documents_of_one_shape() {
    let schema = schema();
    let library = Library::start();
    for (method, target, fields, status) in [
        ("GET", "/nowhere", "", 404),
        ("GET", "/v1/services/none", "", 404),
        ("GET", "/v1/services/Read/relationships/none", "", 404),
        ("GET", "/v1/sessions?x", "", 400),
        ("GET", "/v1/%ff", "", 400),
        ("POST", "/v1/sessions", "", 405),
        ("DELETE", "/v1/sessions", "", 403),
        ("GET", "/v1/sessions", "Accept: text/html\r\n", 406),
        ("GET", "/v1/sessions", "If-Match: \"x\"\r\n", 412),
        ("GET", "/v1/sessions", "Host: twice\r\n", 400),
        ("GET", "/v1/sessions", "Expect: x\r\n", 417),
        ("GET", "/v1/sessions", "Transfer-Encoding: x\r\n", 501),
        ("GET", "/v1/sessions", "Content-Length: 99999\r\n", 413),
    ] {
        let answer = library.request(method, target, fields);
        assert_eq!(answer.status, status, "{method} {target} {fields}");
        let document = check(&schema, &answer.body);
        assert_eq!(document["errors"][0]["status"], status.to_string());
    }
    library.stop();
}

#[test]
fn the_schema_finds_what_is_wrong() {
    let schema = schema();
    let good = r#"{"data":{"id":"1","type":"sessions","links":{"self":"http://a/1"},"attributes":{"a":1}}}"#;
    assert!(schema.is_valid(&serde_json::from_str(good).unwrap()));
    for (from, to) in [
        (r#""id":"1""#, r#""id":1"#),
        (r#""a":1"#, r#""a":null"#),
        (r#""a":1"#, r#""type":1"#),
        (r#""a":1"#, r#""-a":1"#),
        ("http://a/1", "/1"),
        (r#""links":{"self":"http://a/1"},"#, ""),
        (r#"{"data""#, r#"{"dato""#),
        (r#"{"data""#, r#"{"errors":[],"data""#),
    ] {
        assert!(good.contains(from));
        assert!(
            !schema.is_valid(&serde_json::from_str(&good.replacen(from, to, 1)).unwrap()),
            "{to}"
        );
    }
}
