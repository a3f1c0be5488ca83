//! Random tables and random questions, against a model that is too simple to be wrong.

use std::time::{Duration, Instant};

use super::support::PATIENCE;
use super::support::library::Library;
use super::support::random::Random;

/// What the model knows of a session.
struct Row {
    id: u64,
    port: Option<u64>,
    bytes: u64,
    service: &'static str,
}

fn random_table(random: &mut Random) -> (Library, Vec<Row>) {
    let library = Library::start();
    let rows = (1..=random.below(60) as u64).map(|id| {
        let listener = random.below(2);
        let port = (random.below(4) > 0).then(|| 1 + random.below(5) as u64);
        let remote = port.map(|port| format!("192.0.2.1:{port}"));
        let session = library.open(listener, remote.as_deref(), Duration::ZERO);
        let bytes = random.below(4) as u64;
        if bytes > 0 {
            library.connect(&session, 0, bytes);
        }
        Row {
            id,
            port,
            bytes,
            service: ["Write", "Read"][listener],
        }
    });
    let rows = rows.collect();
    (library, rows)
}

type Comparison = fn(u64, u64) -> bool;

/// One filter, and the model's opinion of it.
type Condition = (String, Box<dyn Fn(&Row) -> bool>);

fn random_filter(random: &mut Random) -> Condition {
    let number = random.below(6) as u64;
    let comparisons: [(&str, Comparison); 6] = [
        ("eq", |one, other| one == other),
        ("ne", |one, other| one != other),
        ("lt", |one, other| one < other),
        ("le", |one, other| one <= other),
        ("gt", |one, other| one > other),
        ("ge", |one, other| one >= other),
    ];
    let (name, holds) = comparisons[random.below(6)];
    let not = random.below(3) == 0;
    let expression = if not {
        format!("not({name}({number}))")
    } else {
        format!("{name}({number})")
    };
    let holds = move |value: u64| holds(value, number) != not;
    match random.below(4) {
        0 => (
            format!("filter[id]={expression}"),
            Box::new(move |row| holds(row.id)),
        ),
        1 => (
            format!("filter=/attributes/bytes_from_client={expression}"),
            Box::new(move |row| holds(row.bytes)),
        ),
        2 => (
            format!("filter[attributes.port]={expression}"),
            Box::new(move |row| row.port.is_some_and(holds)),
        ),
        _ => (
            "filter=/relationships/services/data/0/id=\"Read\"".to_owned(),
            Box::new(|row| row.service == "Read"),
        ),
    }
}

#[test]
fn filters_sorts_and_pages_agree_with_a_model() {
    let mut random = Random::new(7);
    for _ in 0..40 {
        let (library, rows) = random_table(&mut random);
        for _ in 0..10 {
            let filters: Vec<Condition> = (0..random.below(3))
                .map(|_| random_filter(&mut random))
                .collect();
            let descending = random.below(2) == 0;
            let mut expected: Vec<&Row> = rows
                .iter()
                .filter(|row| filters.iter().all(|(_, holds)| holds(row)))
                .collect();
            expected.sort_by_key(|row| {
                (
                    row.port.is_none(),
                    row.port
                        .map(|port| if descending { 99 - port } else { port }),
                )
            });
            let expected: Vec<String> = expected.iter().map(|row| row.id.to_string()).collect();

            let sort = if descending {
                "sort=-port"
            } else {
                "sort=port"
            };
            let mut parameters: Vec<String> = filters.into_iter().map(|(text, _)| text).collect();
            parameters.push(sort.to_owned());
            let target = format!("/v1/sessions?{}", parameters.join("&"));
            assert_eq!(library.ids(&target), expected, "{target}");

            // The pages put together are the whole list.
            let size = 1 + random.below(20);
            let mut paged = Vec::new();
            let mut number = 0;
            while paged.len() < expected.len() || number == 0 {
                let page =
                    library.get(&format!("{target}&page[size]={size}&page[number]={number}"));
                assert_eq!(page.integer("/meta/total"), expected.len() as u64);
                let ids: Vec<String> = page
                    .elements("/data")
                    .iter()
                    .map(|row| row.text("/id"))
                    .collect();
                assert!(ids.len() == size || paged.len() + ids.len() == expected.len());
                paged.extend(ids);
                number += 1;
            }
            assert_eq!(paged, expected, "{target} in pages of {size}");
        }
        library.stop();
    }
}

#[test]
fn looking_into_ten_thousand_rows_takes_less_than_five_times_as_long_as_listing_them() {
    let library = Library::with_sessions(10_000);
    let time = |target: &str| {
        let begin = Instant::now();
        assert_eq!(library.request("GET", target, "").status, 200);
        begin.elapsed()
    };
    for target in [
        "/v1/sessions?fields[sessions]=state,port",
        "/v1/sessions?filter[attributes.port]=ge(1)",
        "/v1/sessions?page[size]=100&page[number]=50",
        "/v1/sessions?filter[id]=lt(5000)&sort=-id&page[size]=1000&fields[sessions]=state",
    ] {
        // In turn, so that whatever else the machine does is in both; and as often as it
        // takes, where that leaves no time to the threads that stand back.
        let (mut rounds, mut plain, mut taken) = (0, Duration::MAX, Duration::MAX);
        let begin = Instant::now();
        while rounds < 11 || taken >= 5 * plain {
            assert!(
                rounds < 11 || begin.elapsed() < PATIENCE,
                "{target}: {taken:?} against {plain:?}"
            );
            plain = plain.min(time("/v1/sessions"));
            taken = taken.min(time(target));
            rounds += 1;
        }
    }
    library.stop();
}
