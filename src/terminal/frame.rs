//! What `top` shows: values in, lines out.

use super::columns::{TOP, bytes};
use super::screen::Size;
use super::table::{Look, Table};
use super::text;

/// The keys there are. It fits into 40 cells.
const KEYS: &str = "q quit  < > sort  r reverse  n p page";

/// How many lines are no rows: above them the summary and the titles, below the keys.
const OTHER_LINES: usize = 3;

/// How many sessions a screen has room for.
pub(super) fn rows(size: Size) -> usize {
    size.rows.saturating_sub(OTHER_LINES).max(1)
}

/// All that can be seen.
pub(super) struct Frame<'a> {
    pub(super) size: Size,
    /// Whether there may be colour.
    pub(super) colour: bool,
    /// The sessions of the page.
    pub(super) table: &'a Table,
    /// How many sessions there are.
    pub(super) total: u64,
    /// Which page that is, from 0.
    pub(super) page: usize,
    pub(super) pages: usize,
    /// What they are sorted by, as the API takes it.
    pub(super) sort: &'a str,
    /// Bytes each second from clients and to clients, where that is known.
    pub(super) rates: Option<(u64, u64)>,
    pub(super) place: &'a str,
    /// What is wrong, if anything is.
    pub(super) trouble: Option<&'a str>,
}

impl Frame<'_> {
    /// As many lines as the screen has, none wider.
    pub(super) fn lines(&self) -> Vec<String> {
        let look = Look {
            room: Some(self.size.columns),
            escapes: true,
            colour: self.colour,
            pinned: true,
        };
        let key = self.sort.trim_start_matches('-');
        let sorted = TOP.iter().position(|column| column.sort == key);
        let layout = self.table.layout(look.room, sorted);
        let titles = self.titles(&layout, look, sorted);
        let mut lines = vec![self.fit(&self.summary()), titles];
        for row in self.table.rows().take(rows(self.size)) {
            let mut line = String::new();
            self.table.line(row, &layout, look, &mut line);
            lines.push(line);
        }
        lines.resize(self.size.rows.saturating_sub(1), String::new());
        if self.size.rows > lines.len() {
            lines.push(self.last());
        }
        lines
    }

    fn fit(&self, line: &str) -> String {
        text::fit(line, self.size.columns).0
    }

    fn summary(&self) -> String {
        let plural = if self.total == 1 { "" } else { "s" };
        let mut line = format!(
            "{} session{plural}  page {}/{}  sort {}",
            self.total,
            self.page + 1,
            self.pages,
            text::clean(self.sort)
        );
        if let Some((from, to)) = self.rates {
            line += &["  in ", &bytes(from), "/s  out ", &bytes(to), "/s"].concat();
        }
        line.push_str("  ");
        line.push_str(&text::clean(self.place));
        line
    }

    /// The titles stand out, and the one that counts among them.
    fn titles(&self, layout: &[usize], look: Look, sorted: Option<usize>) -> String {
        let marked = sorted.map(|place| (place, "\x1b[0;1m"));
        let mut line = String::new();
        self.table
            .titles(layout, look, "\x1b[7m", marked, &mut line);
        line
    }

    fn last(&self) -> String {
        match self.trouble {
            None => self.fit(KEYS),
            Some(trouble) => {
                let colour = if self.colour { "\x1b[31m" } else { "" };
                format!("\x1b[1m{colour}{}\x1b[0m", self.fit(&text::clean(trouble)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_the_size_of_the_screen_however_small_that_is() {
        let mut table = Table::new(&TOP);
        for id in 0..100 {
            let row =
                format!(r#"{{"id":"{id}","attributes":{{"user":"王小明\u001b[2J","idle":1}}}}"#);
            table.add(&miniserde::json::from_str(&row).unwrap());
        }
        for (columns, rows) in [(80, 24), (40, 10), (200, 60), (1, 1), (10, 3), (7, 2)] {
            let frame = Frame {
                size: Size { columns, rows },
                colour: false,
                table: &table,
                total: 100,
                page: 0,
                pages: 5,
                sort: "-io_activity",
                rates: Some((1, 2)),
                place: "/run/sessiond.sock",
                trouble: None,
            };
            let lines = frame.lines();
            assert!(lines.len() <= rows.max(2), "{lines:?}");
            for line in &lines {
                let own = [("\x1b[7m", ""), ("\x1b[0m", ""), ("\x1b[0;1m", "")];
                let mut plain = line.clone();
                for (escape, nothing) in own {
                    plain = plain.replace(escape, nothing);
                }
                for column in 1..=columns {
                    plain = plain.replace(&format!("\x1b[{column}G"), "");
                }
                assert!(text::width(&plain) <= columns, "{columns}: {plain:?}");
                assert!(!plain.contains('\x1b'), "{plain:?}");
            }
        }
    }
}
