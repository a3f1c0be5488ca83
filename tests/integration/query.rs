//! The query language, parameter by parameter.

use std::time::{Duration, Instant, SystemTime};

use super::support::library::Library;

/// Six clients, after which the ids in the tests are numbered.
fn table() -> Library {
    let library = Library::start();
    let seconds = Duration::from_secs;
    let one = library.open(0, Some("192.0.2.7:1001"), seconds(60));
    library.connect(&one, 0, 100);
    library.open(0, Some("192.0.2.8:1002"), seconds(50));
    let three = library.open(1, Some("[2001:db8::1]:1003"), seconds(40));
    library.connect(&three, 1, 300);
    library.open(1, None, seconds(30));
    let five = library.open(1, Some("192.0.2.7:1005"), seconds(20));
    library.connect(&five, 0, 5);
    library.connect(&five, 1, 5);
    library.open(0, Some("192.0.2.9:1006"), seconds(10));
    library
}

#[test]
fn filters_keep_what_they_should() {
    let library = table();
    for (filter, expected) in [
        // By pointer, to a value of each type.
        (r#"filter=/id="3""#, "3"),
        ("filter=/id=3", "3"),
        (
            r#"filter=/relationships/services/data/0/id="Write""#,
            "1 2 6",
        ),
        (
            r#"filter=/attributes/state="Session ready for routing""#,
            "1 3 5",
        ),
        ("filter=/attributes/port=1002", "2"),
        ("filter=/attributes/port=1002.0", "2"),
        (r#"filter=/attributes/port="1002""#, "2"),
        ("filter=/attributes/connections=[]", "2 4 6"),
        (
            r#"filter=/relationships/services/data=[{"type":"services","id":"Read"}]"#,
            "3 4 5",
        ),
        ("filter=/attributes/port=true", ""),
        ("filter=/attributes/port=null", ""),
        ("filter=/attributes/missing=1", ""),
        (r#"filter=/id="99""#, ""),
        // By pointer and expression.
        ("filter=/id=ge(5)", "5 6"),
        ("filter=/id=eq(5)", "5"),
        (r#"filter=/id=ne("5")"#, "1 2 3 4 6"),
        ("filter=/id=lt(3)", "1 2"),
        ("filter=/id=le(3)", "1 2 3"),
        ("filter=/id=gt(3)", "4 5 6"),
        ("filter=/id=and(gt(1),lt(4))", "2 3"),
        ("filter=/id=or(eq(1),eq(6))", "1 6"),
        ("filter=/id=not(or(eq(1),eq(6)))", "2 3 4 5"),
        // By path.
        ("filter[id]=ge(5)", "5 6"),
        ("filter[$.id]=ge(5)", "5 6"),
        ("filter[attributes.bytes_from_client]=gt(0)", "1 3 5"),
        (
            r#"filter[attributes['state']]=eq("Session Allocated")"#,
            "2 4 6",
        ),
        (
            r#"filter[attributes.connections[0].server]=eq("db1")"#,
            "1 5",
        ),
        (r#"filter[attributes.connections[1].server]=eq("db2")"#, "5"),
        (
            r#"filter[attributes.connections[0,1].server]=eq("db2")"#,
            "3 5",
        ),
        (
            r#"filter[attributes.connections[*].server]=eq("db2")"#,
            "3 5",
        ),
        ("filter[attributes.memory.*]=gt(0)", "1 2 3 4 5 6"),
        (r#"filter[attributes.remote]=ge("192.0.2.8")"#, "2 3 6"),
        // A row without the value is kept by nothing.
        ("filter[attributes.remote]=ne(1)", "1 2 3 5 6"),
        ("filter[attributes.remote]=not(eq(1))", "1 2 3 5 6"),
        // Between different types there is no order.
        ("filter[attributes.remote]=gt(0)", ""),
        ("filter[attributes.remote]=le(0)", ""),
        (r#"filter[attributes.port]=gt("a")"#, ""),
        ("filter[attributes.connections]=gt(0)", ""),
        ("filter[attributes.port]=lt(true)", ""),
        // Several must all hold.
        (
            r#"filter[id]=gt(1)&filter[id]=lt(6)&filter=/attributes/state="Session Allocated""#,
            "2 4",
        ),
        // Encoded as browsers and axios do it.
        ("filter%5Bid%5D=ge%285%29", "5 6"),
        (
            "filter=%2Fattributes%2Fstate%3D%22Session+Allocated%22",
            "2 4 6",
        ),
    ] {
        assert_eq!(
            library.ids(&format!("/v1/sessions?{filter}")).join(" "),
            expected,
            "{filter}"
        );
    }
    library.stop();
}

#[test]
fn rows_are_sorted() {
    let library = table();
    for (sort, expected) in [
        ("id", "1 2 3 4 5 6"),
        ("-id", "6 5 4 3 2 1"),
        ("seconds_alive", "6 5 4 3 2 1"),
        ("-seconds_alive", "1 2 3 4 5 6"),
        ("-bytes_from_client", "3 1 5 2 4 6"),
        ("bytes_from_client,-id", "6 4 2 5 1 3"),
        // Where the attribute is missing the row comes last, whichever way.
        ("remote,id", "1 5 2 6 3 4"),
        ("-remote,id", "3 6 2 1 5 4"),
        ("connections/0/server,-id", "5 1 3 6 4 2"),
        ("/connections/1/server", "5 1 2 3 4 6"),
        ("missing,-id", "6 5 4 3 2 1"),
        ("protocol,id", "1 2 6 3 4 5"),
    ] {
        assert_eq!(
            library.ids(&format!("/v1/sessions?sort={sort}")).join(" "),
            expected,
            "{sort}"
        );
    }
    library.stop();
}

#[test]
fn pages_have_links_that_keep_the_other_parameters() {
    let library = table();
    let document =
        library.get("/v1/sessions?page[size]=2&page[number]=1&filter[id]=ge(2)&sort=-id&pretty");
    let ids: Vec<String> = document
        .elements("/data")
        .iter()
        .map(|row| row.text("/id"))
        .collect();
    assert_eq!(ids, ["4", "3"]);
    assert_eq!(document.integer("/meta/total"), 5);
    let link = |number: usize| {
        let others = "filter%5Bid%5D=ge%282%29&sort=-id&pretty";
        format!(
            "http://localhost:8989/v1/sessions/?{others}&page%5Bsize%5D=2&page%5Bnumber%5D={number}"
        )
    };
    for (name, number) in [
        ("self", 1),
        ("first", 0),
        ("last", 2),
        ("prev", 0),
        ("next", 2),
    ] {
        assert_eq!(
            document.text(&format!("/links/{name}")),
            link(number),
            "{name}"
        );
    }

    for (page, ids, total, links) in [
        ("page[size]=6", "1 2 3 4 5 6", 6, "first last self"),
        ("page[size]=100", "1 2 3 4 5 6", 6, "first last self"),
        ("page[size]=4", "1 2 3 4", 6, "first last next self"),
        (
            "page[size]=4&page[number]=0",
            "1 2 3 4",
            6,
            "first last next self",
        ),
        (
            "page[size]=4&page[number]=1",
            "5 6",
            6,
            "first last prev self",
        ),
        (
            "page[size]=1&page[number]=3",
            "4",
            6,
            "first last next prev self",
        ),
        // Past the end there is nothing, and the way back.
        ("page[size]=4&page[number]=2", "", 6, "first last prev self"),
        (
            "page[size]=4&page[number]=18446744073709551615",
            "",
            6,
            "first last prev self",
        ),
        ("page[size]=4&filter[id]=eq(0)", "", 0, "first last self"),
        (
            "page%5Bsize%5D=2&page%5Bnumber%5D=2",
            "5 6",
            6,
            "first last prev self",
        ),
    ] {
        let document = library.get(&format!("/v1/sessions?{page}"));
        let listed: Vec<String> = document
            .elements("/data")
            .iter()
            .map(|row| row.text("/id"))
            .collect();
        assert_eq!(listed.join(" "), ids, "{page}");
        assert_eq!(document.integer("/meta/total"), total, "{page}");
        assert_eq!(document.members("/links").join(" "), links, "{page}");
    }
    assert!(!library.get("/v1/sessions").has("/meta"));
    library.stop();
}

#[test]
fn fields_choose_the_members_of_attributes_and_relationships() {
    let library = table();
    let row = |target: &str| {
        let body = library.request("GET", target, "").body;
        body.split_once("\"data\":")
            .unwrap()
            .1
            .trim_end()
            .trim_end_matches('}')
            .to_owned()
    };
    let links = r#""links":{"self":"http://localhost:8989/v1/sessions/1""#;
    for (fields, expected) in [
        (
            "state",
            r#""attributes":{"state":"Session ready for routing"},"#,
        ),
        (
            "state,port",
            r#""attributes":{"state":"Session ready for routing","port":1001},"#,
        ),
        // In the document's own order, and each once.
        (
            "port,state,port",
            r#""attributes":{"state":"Session ready for routing","port":1001},"#,
        ),
        (
            "connections/0/server",
            r#""attributes":{"connections":[{"server":"db1"}]},"#,
        ),
        (
            "/connections/0/server,connections/0/port",
            r#""attributes":{"connections":[{"server":"db1","port":3306}]},"#,
        ),
        ("connections/7", ""),
        ("missing", ""),
        ("", ""),
    ] {
        let expected = format!(r#"{{"id":"1","type":"sessions",{expected}{links}"#);
        assert_eq!(
            row(&format!("/v1/sessions/1?fields[sessions]={fields}")),
            expected,
            "{fields}"
        );
    }
    let services = row("/v1/sessions/1?fields%5Bsessions%5D=services");
    assert!(services.contains(r#""relationships":{"services":{"links":{"self":"http://localhost:8989/v1/services/"},"data":[{"id":"Write","type":"services"}]}}"#), "{services}");
    assert!(!services.contains("attributes"));
    // Those of another type change nothing.
    let whole = library
        .request("GET", "/v1/sessions/1?fields[servers]=state", "")
        .document();
    assert!(whole.has("/data/attributes/connections") && whole.has("/data/relationships/services"));
    // On a list, filters and sort keys see what is not shown.
    let list = library.get("/v1/sessions?fields[sessions]=port&filter[attributes.bytes_from_client]=gt(0)&sort=-bytes_from_client");
    let ports: Vec<u64> = list
        .elements("/data")
        .iter()
        .map(|row| row.integer("/attributes/port"))
        .collect();
    assert_eq!(ports, [1003, 1001, 1005]);
    assert_eq!(list.members("/data/0/attributes"), ["port"]);
    library.stop();
}

#[test]
fn other_collections_take_the_same_parameters() {
    let library = table();
    for (target, expected) in [
        ("/v1/services", "Write Read"),
        ("/v1/services?sort=id", "Read Write"),
        (
            "/v1/services?sort=-statistics/total_connections",
            "Write Read",
        ),
        (
            r#"/v1/services?filter=/relationships/servers/data/1/id="db2""#,
            "Read",
        ),
        (
            r#"/v1/servers?filter[attributes.parameters.rank]=eq("secondary")"#,
            "db2",
        ),
        (
            "/v1/servers?filter[attributes.parameters.port]=lt(3307)",
            "db1",
        ),
        ("/v1/servers?page[size]=1&page[number]=1", "db2"),
        (
            r#"/v1/listeners?filter[attributes.parameters.protocol]=ne("MariaDBClient")"#,
            "Read-Listener",
        ),
    ] {
        assert_eq!(library.ids(target).join(" "), expected, "{target}");
    }
    library.stop();
}

#[test]
#[allow(clippy::too_many_lines, reason = "it is one table")]
fn what_is_malformed_is_refused_by_name_with_what_is_accepted() {
    let library = table();
    let grammar = "; an expression is eq, ne, lt, le, gt or ge of a JSON value, or and, or, not of expressions, such as or(eq(1),gt(5))";
    let or_json = ", or a JSON value such as \"CLI\" or 1";
    let expression = |what: &str, text: &str| format!("{what} in {text:?}{grammar}");
    let path = |text: &str| {
        format!(
            "{text:?} is not a path such as attributes.state, relationships.services.data[0].id or connections[*]"
        )
    };
    let size = "page[size] must be a number from 1 upwards".to_owned();
    let number = "page[number] must be a number from 0 upwards".to_owned();
    let types =
        "there is no such type; there are sessions, services, servers, listeners".to_owned();
    let sort = "a sort key is id or an attribute, with - in front for descending, such as -idle,id"
        .to_owned();
    let unknown = |name: &str| {
        format!(
            "{name} is not a parameter of this request; there are pretty, fields[TYPE], filter, filter[PATH], sort, page[size], page[number], rdns and state"
        )
    };
    for (query, parameter, detail) in [
        (
            "filter",
            "filter",
            "\"\" is not POINTER=VALUE, such as /id=\"1\"".to_owned(),
        ),
        (
            "filter=garbage",
            "filter",
            "\"garbage\" is not POINTER=VALUE, such as /id=\"1\"".to_owned(),
        ),
        (
            "filter=id=1",
            "filter",
            "\"id\" is not a JSON pointer, which starts with a slash".to_owned(),
        ),
        (
            "filter=/a~2=1",
            "filter",
            "\"a~2\" has a ~ that is neither ~0 nor ~1".to_owned(),
        ),
        (
            "filter=/id=CLI",
            "filter",
            expression("a name and a ( are missing", "CLI") + or_json,
        ),
        (
            "filter=/id='1'",
            "filter",
            expression("a name and a ( are missing", "'1'") + or_json,
        ),
        (
            "filter=/id=",
            "filter",
            expression("a name and a ( are missing", "") + or_json,
        ),
        (
            "filter=/id=is(1)",
            "filter",
            expression("there is an unknown name", "is(1)") + or_json,
        ),
        (
            "filter=/id=eq(1",
            "filter",
            expression("a ) is missing", "eq(1") + or_json,
        ),
        (
            "filter=/id=eq(x)",
            "filter",
            expression(
                "there is something that is not JSON (strings have double quotes)",
                "eq(x)",
            ) + or_json,
        ),
        (
            "filter[id]=1",
            "filter[id]",
            expression("a name and a ( are missing", "1"),
        ),
        (
            "filter[id]=eq(1))",
            "filter[id]",
            expression("something follows the expression", "eq(1))"),
        ),
        (
            "filter[id]=not(eq(1),eq(2))",
            "filter[id]",
            expression("not takes one expression", "not(eq(1),eq(2))"),
        ),
        (
            "filter[id]=and(eq(1)eq(2))",
            "filter[id]",
            expression("a , or ) is missing", "and(eq(1)eq(2))"),
        ),
        ("filter[]=eq(1)", "filter[]", path("")),
        ("filter[a..b]=eq(1)", "filter[a..b]", path("a..b")),
        ("filter[a[x]]=eq(1)", "filter[a[x]]", path("a[x]")),
        ("filter[a", "filter[a", unknown("filter[a")),
        (
            "fields[sessions]=a~",
            "fields[sessions]",
            "\"a~\" has a ~ that is neither ~0 nor ~1".to_owned(),
        ),
        ("fields[session]=a", "fields[session]", types.clone()),
        ("fields[]=a", "fields[]", types.clone()),
        ("fields=a", "fields", unknown("fields")),
        ("sort", "sort", sort.clone()),
        ("sort=", "sort", sort.clone()),
        ("sort=-", "sort", sort.clone()),
        ("sort=id,,idle", "sort", sort.clone()),
        (
            "sort=a~b",
            "sort",
            "\"a~b\" has a ~ that is neither ~0 nor ~1".to_owned(),
        ),
        ("page[size]", "page[size]", size.clone()),
        ("page[size]=", "page[size]", size.clone()),
        ("page[size]=0", "page[size]", size.clone()),
        ("page[size]=-1", "page[size]", size.clone()),
        ("page[size]=%2B1", "page[size]", size.clone()),
        ("page[size]=1.5", "page[size]", size.clone()),
        ("page[size]=ten", "page[size]", size.clone()),
        (
            "page[size]=18446744073709551616",
            "page[size]",
            size.clone(),
        ),
        (
            "page[number]=0",
            "page[number]",
            "page[number] needs page[size]".to_owned(),
        ),
        ("page[size]=1&page[number]=", "page[number]", number.clone()),
        (
            "page[size]=1&page[number]=-1",
            "page[number]",
            number.clone(),
        ),
        (
            "page[size]=1&page[number]=x",
            "page[number]",
            number.clone(),
        ),
        ("page", "page", unknown("page")),
        ("page[offset]=1", "page[offset]", unknown("page[offset]")),
        ("include=services", "include", unknown("include")),
    ] {
        let answer = library.request("GET", &format!("/v1/sessions?{query}"), "");
        assert_eq!(answer.status, 400, "{query}");
        assert_eq!(answer.detail(), detail, "{query}");
        assert_eq!(
            answer.document().text("/errors/0/source/parameter"),
            parameter
        );
    }
    let deep = format!("{}eq(1){}", "not(".repeat(16), ")".repeat(16));
    let answer = library.request("GET", &format!("/v1/sessions?filter[id]={deep}"), "");
    assert!(
        answer
            .detail()
            .starts_with("there are too many expressions in each other in "),
        "{}",
        answer.detail()
    );
    let long = format!("eq(\"{}\")", "a".repeat(1024));
    assert_eq!(
        library
            .request("GET", &format!("/v1/sessions?filter[id]={long}"), "")
            .detail(),
        "an expression has at most 1024 bytes"
    );
    library.stop();
}

#[test]
fn dates_are_filtered_and_sorted_by_time() {
    let library = Library::start();
    // A Wednesday, a Thursday and a Friday, in two months and two years.
    let days = [17_303, 17_304, 17_227, 17_592];
    let listeners = &library.registry.topology().listeners;
    for day in days {
        let connected = SystemTime::UNIX_EPOCH + Duration::from_secs(day * 86_400 + 36_395);
        let sessions = &library.registry.sessions;
        sessions.open_client(&listeners[0], None, connected, Instant::now());
    }
    let shown: Vec<String> = library
        .get("/v1/sessions")
        .elements("/data")
        .iter()
        .map(|row| row.text("/attributes/connected"))
        .collect();
    let third = &shown[2];
    for (query, expected) in [
        ("sort=connected", "3 1 2 4"),
        ("sort=-connected", "4 2 1 3"),
        // As it is shown, which is equal to no other form.
        (
            &format!("filter[attributes.connected]=eq(\"{third}\")"),
            "3",
        ),
        (
            &format!("filter[attributes.connected]=ge(\"{third}\")"),
            "1 2 3 4",
        ),
        (
            &format!("filter[attributes.connected]=gt(\"{third}\")"),
            "1 2 4",
        ),
        (
            &format!("filter[attributes.connected]=lt(\"{}\")", shown[0]),
            "3",
        ),
        (
            &format!("filter[attributes.connected]=le(\"{}\")", shown[0]),
            "1 3",
        ),
        (
            r#"filter[attributes.connected]=lt("2017-05-17T10:06:35.5Z")"#,
            "1 3",
        ),
        (
            r#"filter[attributes.connected]=gt("2017-05-17T12:06:35%2B02:00")"#,
            "2 4",
        ),
        (
            r#"filter[attributes.connected]=gt("2017-05-17T12:06:35+02:00")"#,
            "2 4",
        ),
        (
            r#"filter[attributes.connected]=ge("Thu, 18 May 2017 10:06:35 GMT")"#,
            "2 4",
        ),
        (
            r#"filter[attributes.connected]=eq("2017-05-17T10:06:35Z")"#,
            "",
        ),
        (
            r#"filter[attributes.connected]=ne("2017-05-17T10:06:35Z")"#,
            "1 2 3 4",
        ),
        // With what is no date there is no order.
        (r#"filter[attributes.connected]=gt("A")"#, ""),
        (r#"filter[attributes.connected]=lt("Z")"#, ""),
        ("filter[attributes.connected]=gt(0)", ""),
        (r#"filter[attributes.connected]=not(gt("A"))"#, "1 2 3 4"),
    ] {
        assert_eq!(
            library.ids(&format!("/v1/sessions?{query}")).join(" "),
            expected,
            "{query}"
        );
    }
    // By when they were closed, to what is not shown of that.
    for (id, milliseconds) in [("3", 500), ("1", 900), ("4", 100), ("2", 700)] {
        let id = sessiond::registry::SessionId::parse(id).unwrap();
        let closed =
            SystemTime::UNIX_EPOCH + Duration::from_millis(1_500_000_000_000 + milliseconds);
        let reason = sessiond::registry::CloseReason::ClientClosed;
        assert!(
            library
                .registry
                .sessions
                .close(id, reason, closed, Instant::now())
        );
    }
    assert_eq!(
        library
            .ids("/v1/sessions?state=closed&sort=-closed")
            .join(" "),
        "1 2 3 4"
    );
    library.stop();
}

#[test]
fn what_could_turn_a_terminal_or_a_line_of_text_is_escaped() {
    let library = Library::start();
    let one = library.open(0, None, Duration::ZERO);
    let user = "a\u{1b}[31m\u{7f}\u{9b}1m\u{202e}b\u{2066}\u{2028}\u{61c}Zo\u{eb}";
    let login = sessiond::registry::Login {
        user: user.to_owned(),
        database: None,
        attributes: Vec::new(),
    };
    one.set_login(Some(login), SystemTime::now());
    let answer = library.request("GET", "/v1/sessions/1", "");
    let escaped = r#""user":"a\u001b[31m\u007f\u009b1m\u202eb\u2066\u2028\u061cZoë""#;
    assert!(answer.body.contains(escaped), "{}", answer.body);
    assert_eq!(answer.document().text("/data/attributes/user"), user);
    library.stop();
}

#[test]
fn a_long_list_is_filtered_and_sorted_away_from_the_loop() {
    let library = Library::with_sessions(3000);
    let answer = library.request(
        "GET",
        "/v1/sessions?filter[id]=gt(2998)&sort=-id&page[size]=5",
        "",
    );
    assert_eq!(answer.field("Transfer-Encoding"), Some("chunked"));
    let ids: Vec<String> = answer
        .document()
        .elements("/data")
        .iter()
        .map(|row| row.text("/id"))
        .collect();
    assert_eq!(ids, ["3000", "2999"]);
    assert_eq!(
        library.request("HEAD", "/v1/sessions?sort=id", "").status,
        200
    );
    library.stop();
}
