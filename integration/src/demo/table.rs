//! The table that the demo prints: columns as wide as what is in them, long reasons wrapped.

use super::attempt::Row;

/// The widest a reason gets before it is wrapped, in characters.
const WHY: usize = 64;

const HEAD: [&str; 4] = ["app", "attempt", "what happened", "why"];

pub(super) fn draw(rows: &[Row]) -> String {
    let cells: Vec<[&str; 3]> = rows.iter().map(|row| [row.app, row.attempt.as_str(), row.happened.as_str()]).collect();
    let width = |column: usize| cells.iter().map(|cell| cell[column].chars().count()).chain([HEAD[column].len()]).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    let mut text = String::new();
    let mut line = |mark: &str, cells: [&str; 3], why: &str| {
        let mut columns = String::new();
        for (cell, width) in cells.iter().zip(widths) {
            columns += &format!("{cell:width$}  ");
        }
        text += format!("{mark:3}{columns}{why}").trim_end();
        text.push('\n');
    };
    line("", [HEAD[0], HEAD[1], HEAD[2]], HEAD[3]);
    let rule = widths.map(|width| "-".repeat(width));
    line("", [&rule[0], &rule[1], &rule[2]], &"-".repeat(WHY));
    let mut last = "";
    for (row, cell) in rows.iter().zip(&cells) {
        let app = if row.app == last { "" } else { row.app };
        last = row.app;
        let mut why = wrap(&row.why).into_iter();
        line(if row.as_it_must { "ok" } else { "!!" }, [app, cell[1], cell[2]], &why.next().unwrap_or_default());
        for more in why {
            line("", ["", "", ""], &more);
        }
    }
    text
}

fn wrap(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let fits = lines.last().is_some_and(|line| line.is_empty() || line.chars().count() + 1 + word.chars().count() <= WHY);
        if !fits {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_reasons_wrapped() {
        let row = |app, attempt: &str, as_it_must| Row {
            app,
            attempt: attempt.to_owned(),
            happened: "held".to_owned(),
            why: "reasons ".repeat(12),
            as_it_must,
        };
        let text = draw(&[row("payment", "one", true), row("payment", "number two", false)]);
        let starts: Vec<_> = text.lines().filter_map(|line| line.find("reasons reasons")).collect();
        assert_eq!(starts.len(), 4, "two rows of two lines:\n{text}");
        assert!(starts.iter().all(|start| *start == starts[0]), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= starts[0] + WHY), "{text}");
        assert!(text.lines().any(|line| line.starts_with("!! ")), "{text}");
    }
}
