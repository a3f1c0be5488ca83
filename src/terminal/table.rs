//! Rows in columns that stand below each other, whatever is in them.
//!
//! On a terminal a line is never longer than the screen is wide: texts are cut
//! first, to a length at which they still say something, and then whole columns
//! are left out. Elsewhere nothing is cut.

use miniserde::json::Value;

use super::columns::Column;
use super::screen::escape;
use super::text;

/// The room between two columns.
const GAP: usize = 2;

/// A longer cell than that does not move the columns of all rows.
const WIDEST: usize = 48;

/// How lines are to look.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Look {
    /// How many cells a line has, on a terminal.
    pub(super) room: Option<usize>,
    /// Whether the terminal follows escape sequences.
    pub(super) escapes: bool,
    /// Whether there may be colour.
    pub(super) colour: bool,
    /// Whether each column's place is named to the terminal, so that columns stand even
    /// where it thinks otherwise than we of a character's width.
    pub(super) pinned: bool,
}

/// Columns, and the cells of rows.
pub(super) struct Table {
    columns: &'static [Column],
    /// Row after row.
    cells: Vec<String>,
    /// How wide each column would be, with nothing cut.
    widths: Vec<usize>,
}

impl Table {
    pub(super) fn new(columns: &'static [Column]) -> Self {
        Self {
            columns,
            cells: Vec::new(),
            widths: columns.iter().map(Column::usual_width).collect(),
        }
    }

    pub(super) fn add(&mut self, row: &Value) {
        for (column, width) in self.columns.iter().zip(&mut self.widths) {
            let cell = column.cell(row);
            *width = (*width).max(text::width(&cell).min(WIDEST));
            self.cells.push(cell);
        }
    }

    /// Its rows, each with a cell for each column.
    pub(super) fn rows(&self) -> impl Iterator<Item = &[String]> {
        self.cells.chunks_exact(self.columns.len())
    }

    /// All lines, each with its end.
    pub(super) fn render(&self, look: Look, titled: bool) -> String {
        let layout = self.layout(look.room, None);
        let mut lines = String::new();
        if titled {
            let bold = if look.escapes { "\x1b[1m" } else { "" };
            self.titles(&layout, look, bold, None, &mut lines);
            lines.push('\n');
        }
        for row in self.rows() {
            self.line(row, &layout, look, &mut lines);
            lines.push('\n');
        }
        lines
    }

    /// How wide each column is; 0 where it is left out, which one of them is not.
    pub(super) fn layout(&self, room: Option<usize>, kept: Option<usize>) -> Vec<usize> {
        let mut widths = self.widths.clone();
        let Some(room) = room else {
            return widths;
        };
        let least = |index: usize| match self.columns[index].least {
            0 => self.widths[index],
            least => self.widths[index].min(least),
        };
        let total = |widths: &[usize]| {
            let shown = widths.iter().filter(|width| **width > 0);
            shown
                .map(|width| width + GAP)
                .sum::<usize>()
                .saturating_sub(GAP)
        };
        let mut smallest: Vec<usize> = (0..widths.len()).map(least).collect();
        while total(&smallest) > room {
            let rank = |index: &usize| match kept {
                Some(kept) if kept == *index => 0,
                _ => self.columns[*index].rank,
            };
            let shown = (0..widths.len()).filter(|index| smallest[*index] > 0);
            let Some(dropped) = shown.max_by_key(rank) else {
                break;
            };
            // The first one says which row it is: it stays, and is cut.
            let rest = if dropped == 0 { room } else { 0 };
            (smallest[dropped], widths[dropped]) = (rest, rest);
            if dropped == 0 {
                break;
            }
        }
        // The widest one gives way.
        while total(&widths) > room {
            let shrinkable = (0..widths.len()).filter(|index| widths[*index] > smallest[*index]);
            let Some(widest) = shrinkable.max_by_key(|index| widths[*index]) else {
                break;
            };
            widths[widest] -= 1;
        }
        widths
    }

    /// The line of titles; one of them may stand out by a style of its own.
    pub(super) fn titles(
        &self,
        layout: &[usize],
        look: Look,
        style: &str,
        marked: Option<(usize, &str)>,
        out: &mut String,
    ) {
        out.push_str(style);
        let titles = self.columns.iter().map(|column| column.title);
        let style_of = |index: usize| match marked {
            Some((place, mark)) if place == index => mark,
            _ => "",
        };
        self.cells(titles, layout, look, style_of, style, out);
        if !style.is_empty() {
            out.push_str("\x1b[0m");
        }
    }

    /// The line of a row.
    pub(super) fn line(&self, row: &[String], layout: &[usize], look: Look, out: &mut String) {
        let style_of = |index: usize| {
            if look.colour {
                self.columns[index].colour(&row[index])
            } else {
                ""
            }
        };
        self.cells(
            row.iter().map(String::as_str),
            layout,
            look,
            style_of,
            "",
            out,
        );
    }

    fn cells<'a>(
        &self,
        cells: impl Iterator<Item = &'a str>,
        layout: &[usize],
        look: Look,
        style_of: impl Fn(usize) -> &'a str,
        base: &str,
        out: &mut String,
    ) {
        let mut place = 0;
        // What would fill the rest of a cell, if another one comes.
        let mut pending = 0;
        for (index, cell) in cells.enumerate().filter(|(index, _)| layout[*index] > 0) {
            let (cell, width) = match look.room {
                Some(_) => text::fit(cell, layout[index]),
                None => (cell.to_owned(), text::width(cell)),
            };
            let rest = layout[index].saturating_sub(width);
            let gap = if place == 0 { 0 } else { GAP };
            let before = if self.columns[index].is_number() {
                rest
            } else {
                0
            };
            text::pad(out, pending + gap);
            if look.pinned && place > 0 {
                out.push_str(&escape(place + gap + 1, "G"));
            }
            text::pad(out, before);
            let style = style_of(index);
            out.push_str(style);
            out.push_str(&cell);
            if !style.is_empty() {
                out.push_str("\x1b[0m");
                out.push_str(base);
            }
            pending = rest - before;
            place += gap + layout[index];
        }
    }
}

#[cfg(test)]
mod tests {
    use miniserde::json;

    use super::*;
    use crate::terminal::{Collection, Lifetime, columns};

    fn table(rows: &[(&str, &str)]) -> Table {
        let mut table = Table::new(columns::of(Collection::Sessions, Lifetime::Open));
        for (id, user) in rows {
            let row = format!(
                r#"{{"id":"{id}","attributes":{{"state":"Session ready for routing","user":"{user}",
                "remote":"192.0.2.1","idle":3.2,"seconds_alive":4000,"bytes_from_client":2048,
                "bytes_to_client":7,"connections":[{{"server":"db1"}}]}},
                "relationships":{{"services":{{"data":[{{"id":"RW-Split-Router"}}]}}}}}}"#
            );
            table.add(&json::from_str(&row).unwrap());
        }
        table
    }

    fn look(room: usize) -> Look {
        Look {
            room: Some(room),
            ..Look::default()
        }
    }

    #[test]
    fn columns_stand_below_each_other() {
        let table = table(&[("4", "app"), ("17", "王小明")]);
        assert_eq!(
            table.render(Look::default(), true),
            "ID  STATE  USER    CLIENT     SERVICE          SERVER    IDLE   ALIVE    IN   OUT\n\
             4   ready  app     192.0.2.1  RW-Split-Router  db1       3.2s   1h06m  2.0K     7\n\
             17  ready  王小明  192.0.2.1  RW-Split-Router  db1       3.2s   1h06m  2.0K     7\n"
        );
        let plain = table.render(Look::default(), false);
        assert_eq!(plain.lines().count(), 2);
    }

    #[test]
    fn no_line_is_longer_than_the_screen_is_wide() {
        let long = "x".repeat(1000);
        let table = table(&[
            ("4", "app"),
            ("123456", "王小明王小明王小明王小明"),
            ("5", &long),
        ]);
        for room in 1..200 {
            for line in table.render(look(room), true).lines() {
                assert!(text::width(line) <= room, "{room}: {line}");
            }
        }
        let narrow = table.render(look(40), true);
        assert!(narrow.starts_with("ID      USER"), "{narrow}");
        // Elsewhere nothing is cut, and one long name does not move the others far.
        let whole = table.render(Look::default(), true);
        assert!(whole.contains(&long));
        assert!(whole.lines().next().unwrap().len() < 160);
    }

    #[test]
    fn what_is_wrong_stands_out_where_there_may_be_colour() {
        let mut table = Table::new(columns::of(Collection::Servers, Lifetime::Open));
        let row = r#"{"id":"db1","attributes":{"state":"Down, Drained"}}"#;
        table.add(&json::from_str(row).unwrap());
        let look = Look {
            colour: true,
            escapes: true,
            ..look(80)
        };
        let text = table.render(look, true);
        assert!(text.contains("\x1b[31mDown, Drained\x1b[0m"), "{text:?}");
        assert!(
            !table
                .render(
                    super::Look {
                        colour: false,
                        ..look
                    },
                    true
                )
                .contains("\x1b[31m")
        );
    }
}
