//! The table: medians of rounds, ratios, and whether a mark is met.

use std::fmt::Write;
use std::fs;

/// All rows so far.
#[derive(Default)]
pub struct Report {
    rows: Vec<Row>,
}

struct Row {
    what: String,
    ours: String,
    peers: String,
    /// What is compared with the mark.
    figure: f64,
    mark: Mark,
}

/// What a figure is to be.
#[derive(Clone, Copy)]
pub enum Mark {
    AtMost(f64),
    AtLeast(f64),
    /// There is none: it is shown to be seen.
    None,
}

impl Report {
    /// A figure of ours beside a peer's: the ratio is compared with the mark.
    pub fn ratio(&mut self, what: &str, unit: &str, ours: f64, peers: f64, mark: Mark) {
        let row = Row {
            what: what.to_owned(),
            ours: in_words(ours, unit),
            peers: in_words(peers, unit),
            figure: ours / peers,
            mark,
        };
        self.add(row);
    }

    /// A figure of ours alone.
    pub fn figure(&mut self, what: &str, unit: &str, ours: f64, mark: Mark) {
        let row = Row {
            what: what.to_owned(),
            ours: in_words(ours, unit),
            peers: String::new(),
            figure: ours,
            mark,
        };
        self.add(row);
    }

    fn add(&mut self, row: Row) {
        println!("{}", row.line());
        self.rows.push(row);
    }

    /// Writes it to `target/bench.md`.
    pub fn write(&self) {
        let mut text = String::from(HEAD);
        for row in &self.rows {
            text.push_str(&row.line());
            text.push('\n');
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench.md");
        fs::write(path, text).unwrap();
    }
}

const HEAD: &str = "| what | sessiond | peer | figure | mark | met |\n|---|---|---|---|---|---|\n";

impl Row {
    fn line(&self) -> String {
        let (mark, met) = match self.mark {
            Mark::AtMost(mark) => (format!("≤ {mark}"), self.figure <= mark),
            Mark::AtLeast(mark) => (format!("≥ {mark}"), self.figure >= mark),
            Mark::None => (String::new(), true),
        };
        let met = match (self.mark, met) {
            (Mark::None, _) => "",
            (_, true) => "yes",
            (_, false) => "**no**",
        };
        let figure = if self.peers.is_empty() {
            String::new()
        } else {
            format!("{:.2}", self.figure)
        };
        let mut line = String::new();
        // Writing to a string cannot fail.
        let _ = write!(
            line,
            "| {} | {} | {} | {figure} | {mark} | {met} |",
            self.what, self.ours, self.peers
        );
        line
    }
}

fn in_words(figure: f64, unit: &str) -> String {
    let digits = match figure {
        figure if figure >= 1000.0 => 0,
        figure if figure >= 10.0 => 1,
        _ => 2,
    };
    format!("{figure:.digits$} {unit}")
}

/// The middle one of some figures.
pub fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
