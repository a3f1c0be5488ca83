//! Measurements beside real peers: `make bench`.
//!
//! Every measurement runs this program and its peer in turn, in rounds, under
//! the same load, and compares medians. What counts is the processor time of
//! the measured process for one operation; wall clock is shown beside it.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::unchecked_time_subtraction,
    clippy::large_stack_arrays,
    reason = "figures are small, and clocks go forward"
)]

mod admin;
mod child;
mod load;
mod peers;
mod relay;
mod report;
mod table;

use std::process::ExitCode;

/// Measures some things, and adds them to the report.
type Measure = fn(&mut report::Report);

/// What `make bench` measures, in the order of the report.
const GROUPS: [(&str, Measure); 10] = [
    ("exchange", relay::exchanges),
    ("short", relay::short_sessions),
    ("bulk", relay::bulk),
    ("latency", relay::latency),
    ("memory", relay::memory),
    ("start", relay::start),
    ("session", admin::one_session),
    ("list", admin::list),
    ("lists", table::lists),
    ("table", table::open_and_close),
];

fn main() -> ExitCode {
    // Cargo adds an argument of its own.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        // Peers that are this program under another name.
        [peers::BARE, body] => peers::run_bare(body),
        [table::LIBRARY, count] => table::run_library(count),
        [table::OPEN_AND_CLOSE] => table::run_open_and_close(),
        ref chosen => {
            let mut report = report::Report::default();
            for (name, measure) in GROUPS {
                if chosen.is_empty() || chosen.contains(&name) {
                    measure(&mut report);
                }
            }
            report.write();
        }
    }
    ExitCode::SUCCESS
}
