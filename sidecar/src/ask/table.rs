//! Aligned columns for people, with nothing in them that a terminal would obey but the colour of a verdict.

use super::paint::style;

/// Rows under a head, each column as wide as its widest cell.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
    columns: Columns,
}

impl Table {
    /// A table with this head.
    pub fn new(head: &[&str]) -> Self {
        Table { rows: Vec::new(), columns: Columns::default() }.with(head.iter().map(|cell| (*cell).to_owned()).collect())
    }

    /// The cells of this column (counted from 0) are verdicts, which have a colour.
    #[must_use]
    pub fn verdicts_in(mut self, column: usize) -> Self {
        self.columns.verdict = Some(column);
        self
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        let cells: Vec<String> = cells.into_iter().map(|cell| tame(&cell)).collect();
        self.columns.fit(&cells);
        self.rows.push(cells);
    }

    /// The text, without a line end at its end.
    pub fn render(&self) -> String {
        self.rows.iter().map(|row| self.columns.line(row)).collect::<Vec<_>>().join("\n")
    }

    /// The columns, for rows that come later.
    pub fn into_columns(self) -> Columns {
        self.columns
    }

    fn with(mut self, row: Vec<String>) -> Self {
        self.row(row);
        self
    }
}

/// How wide each column is.
#[derive(Debug, Default)]
pub struct Columns {
    widths: Vec<usize>,
    verdict: Option<usize>,
}

impl Columns {
    /// One more row below those that were shown; a cell that is wider than all before widens its column from here on.
    pub fn next(&mut self, cells: &[String]) -> String {
        let cells: Vec<String> = cells.iter().map(|cell| tame(cell)).collect();
        self.fit(&cells);
        self.line(&cells)
    }

    fn fit(&mut self, cells: &[String]) {
        self.widths.resize(self.widths.len().max(cells.len()), 0);
        for (width, cell) in self.widths.iter_mut().zip(cells) {
            *width = (*width).max(cell.chars().count());
        }
    }

    fn line(&self, cells: &[String]) -> String {
        let last = cells.iter().rposition(|cell| !cell.is_empty()).unwrap_or_default();
        let padded = cells.iter().zip(&self.widths).enumerate().take(last + 1).map(|(column, (cell, width))| {
            let style = if self.verdict == Some(column) { style(cell) } else { anstyle::Style::new() };
            let fill = if column == last { 0 } else { width.saturating_sub(cell.chars().count()) };
            format!("{style}{cell}{style:#}{:fill$}", "")
        });
        padded.collect::<Vec<_>>().join("  ")
    }
}

/// The text without what a terminal would obey: names come from the network.
pub fn tame(text: &str) -> String {
    text.chars().map(|c| if policies::is_obeyed(c) { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    }

    #[test]
    fn columns_are_aligned_and_escapes_are_not_obeyed() {
        let mut table = Table::new(&["name", "port"]);
        table.row(row(&["a.example", "443"]));
        table.row(row(&["\u{1b}[31mred", "80"]));
        table.row(row(&["\u{202e}turned", "80"]));
        assert_eq!(table.render(), "name       port\na.example  443\n\u{fffd}[31mred   80\n\u{fffd}turned    80");
    }

    #[test]
    fn a_colour_takes_no_room_and_only_verdicts_have_one() {
        let mut table = Table::new(&["what", "name"]).verdicts_in(0);
        table.row(row(&["refused", "refused"]));
        assert_eq!(table.render(), "what     name\n\u{1b}[31mrefused\u{1b}[0m  refused");
    }

    #[test]
    fn rows_that_come_later_stand_below_the_others() {
        let mut table = Table::new(&["name", "port"]);
        table.row(row(&["a.example", "443"]));
        let mut columns = table.into_columns();
        assert_eq!(columns.next(&row(&["b", "80"])), "b          80");
        assert_eq!(columns.next(&row(&["longer.example", "80"])), "longer.example  80");
        assert_eq!(columns.next(&row(&["b", "80"])), "b               80");
    }
}
