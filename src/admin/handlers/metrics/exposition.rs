//! Writes metrics, in the text format of Prometheus (0.0.4) or in OpenMetrics 1.0.
//!
//! The two differ in three things alone: OpenMetrics calls a counter by its name
//! without `_total`, has a kind for what only names something, and shows where
//! it ends, so that what is cut off is never taken for the whole.

use std::fmt::Write;
use std::time::Duration;

/// What the numbers of a family are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It goes up and down.
    Gauge,
    /// It goes up, until the program or what it counts begins anew.
    Counter,
    /// How often something took how long.
    Histogram,
    /// 1; the labels say it all.
    Info,
}

/// A label's name and value.
type Label<'a> = (&'a str, &'a str);

/// What is written so far.
pub(super) struct Exposition {
    text: String,
    is_open_metrics: bool,
    /// Of the family that is being written.
    name: &'static str,
    kind: Kind,
}

// Writing to a string cannot fail.
impl Exposition {
    pub(super) fn new(is_open_metrics: bool) -> Self {
        Self {
            text: String::new(),
            is_open_metrics,
            name: "",
            kind: Kind::Gauge,
        }
    }

    /// How much there is to take.
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// Takes what there is.
    pub(super) fn take(&mut self) -> String {
        std::mem::take(&mut self.text)
    }

    /// Writes the end, and takes all that is left.
    pub(super) fn finish(&mut self) -> String {
        if self.is_open_metrics {
            self.text.push_str("# EOF\n");
        }
        self.take()
    }

    /// A family begins, whose name has no ending. The help has no line break and no backslash.
    pub(super) fn begin(&mut self, name: &'static str, kind: Kind, help: &str) {
        (self.name, self.kind) = (name, kind);
        let (ending, word) = match (kind, self.is_open_metrics) {
            (Kind::Gauge, _) => ("", "gauge"),
            (Kind::Histogram, _) => ("", "histogram"),
            (Kind::Counter, true) => ("", "counter"),
            (Kind::Counter, false) => (ending(kind), "counter"),
            (Kind::Info, true) => ("", "info"),
            (Kind::Info, false) => (ending(kind), "gauge"),
        };
        let _ = write!(
            self.text,
            "# HELP {name}{ending} {help}\n# TYPE {name}{ending} {word}\n"
        );
    }

    /// A whole number.
    pub(super) fn sample(&mut self, labels: &[Label<'_>], value: u64) {
        self.labels(ending(self.kind), labels);
        let _ = writeln!(self.text, "{value}");
    }

    /// A whole number, where it is known.
    pub(super) fn option(&mut self, value: Option<usize>) {
        if let Some(value) = value {
            self.sample(&[], value as u64);
        }
    }

    /// A time in seconds, to the microsecond.
    pub(super) fn seconds(&mut self, labels: &[Label<'_>], value: Duration) {
        self.labels(ending(self.kind), labels);
        let (seconds, rest) = (value.as_secs(), value.subsec_micros());
        let _ = writeln!(self.text, "{seconds}.{rest:06}");
    }

    /// How much took how long: the bounds of the buckets in microseconds, how much
    /// each of them has, with one more for what took longer, and all times together.
    pub(super) fn histogram(&mut self, bounds: &[u64], counts: &[u64], sum: Duration) {
        let mut below = 0;
        let mut bounds = bounds.iter();
        for count in counts {
            below += count;
            let bound = bounds
                .next()
                .map_or_else(|| "+Inf".to_owned(), |bound| in_seconds(*bound));
            self.labels("_bucket", &[("le", &bound)]);
            let _ = writeln!(self.text, "{below}");
        }
        let (seconds, rest) = (sum.as_secs(), sum.subsec_micros());
        let name = self.name;
        let _ = write!(
            self.text,
            "{name}_sum {seconds}.{rest:06}\n{name}_count {below}\n"
        );
    }

    /// The name, with what stands behind it, and the labels.
    fn labels(&mut self, ending: &str, labels: &[Label<'_>]) {
        self.text.push_str(self.name);
        self.text.push_str(ending);
        let mut before = "{";
        for (name, value) in labels {
            let _ = write!(self.text, "{before}{name}=\"");
            self.escape(value);
            self.text.push('"');
            before = ",";
        }
        self.text
            .push_str(if labels.is_empty() { " " } else { "} " });
    }

    /// A label's value. Both formats have three characters that stand for another.
    fn escape(&mut self, value: &str) {
        for c in value.chars() {
            match c {
                '\\' => self.text.push_str("\\\\"),
                '"' => self.text.push_str("\\\""),
                '\n' => self.text.push_str("\\n"),
                _ => self.text.push(c),
            }
        }
    }
}

/// What stands behind the name of a family in its samples.
fn ending(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "_total",
        Kind::Info => "_info",
        Kind::Gauge | Kind::Histogram => "",
    }
}

/// Microseconds as seconds, without zeros at the end but for one: `0.0005`, `1.0`.
fn in_seconds(microseconds: u64) -> String {
    let (seconds, rest) = (microseconds / 1_000_000, microseconds % 1_000_000);
    let mut text = format!("{seconds}.{rest:06}");
    while text.ends_with('0') && !text.ends_with(".0") {
        text.pop();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(is_open_metrics: bool, write: impl Fn(&mut Exposition)) -> String {
        let mut out = Exposition::new(is_open_metrics);
        write(&mut out);
        out.finish()
    }

    #[test]
    fn a_counter_has_its_ending_in_its_name_or_in_its_samples_alone() {
        let write = |out: &mut Exposition| {
            out.begin("opened", Kind::Counter, "What began.");
            out.sample(&[("a", "b"), ("c", "d")], 7);
        };
        assert_eq!(
            written(false, write),
            "# HELP opened_total What began.\n# TYPE opened_total counter\nopened_total{a=\"b\",c=\"d\"} 7\n"
        );
        assert_eq!(
            written(true, write),
            "# HELP opened What began.\n# TYPE opened counter\nopened_total{a=\"b\",c=\"d\"} 7\n# EOF\n"
        );
    }

    #[test]
    fn what_only_names_something_is_a_gauge_where_there_is_no_word_for_it() {
        let write = |out: &mut Exposition| {
            out.begin("build", Kind::Info, "Which.");
            out.sample(&[("version", "1")], 1);
        };
        assert_eq!(
            written(false, write),
            "# HELP build_info Which.\n# TYPE build_info gauge\nbuild_info{version=\"1\"} 1\n"
        );
        assert_eq!(
            written(true, write),
            "# HELP build Which.\n# TYPE build info\nbuild_info{version=\"1\"} 1\n# EOF\n"
        );
    }

    #[test]
    fn a_label_cannot_end_early_and_a_line_neither() {
        let write = |out: &mut Exposition| {
            out.begin("g", Kind::Gauge, "");
            out.sample(&[("a", "\"} 1\n\\ é{}")], 0);
        };
        assert!(written(false, write).ends_with("\ng{a=\"\\\"} 1\\n\\\\ é{}\"} 0\n"));
    }

    #[test]
    fn buckets_add_up_and_bounds_are_seconds() {
        let write = |out: &mut Exposition| {
            out.begin("took", Kind::Histogram, "");
            let sum = Duration::from_micros(2_500_001);
            out.histogram(&[100, 500_000, 1_000_000, 5_000_000], &[1, 2, 0, 3, 4], sum);
        };
        let expected = "took_bucket{le=\"0.0001\"} 1\ntook_bucket{le=\"0.5\"} 3\n\
            took_bucket{le=\"1.0\"} 3\ntook_bucket{le=\"5.0\"} 6\ntook_bucket{le=\"+Inf\"} 10\n\
            took_sum 2.500001\ntook_count 10\n";
        assert!(written(false, write).ends_with(expected));
    }
}
