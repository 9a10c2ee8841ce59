//! The report of problems as text: the drawing is annotate-snippets', the choice of lines is made here.
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::{Problem, Problems, Severity, Style, line_of};

/// Problems of one file that are drawn; the others are counted. Nobody reads on, and what is no policy at all can have a problem in each
/// of its thousands of lines.
const MOST_DRAWN: usize = 100;

/// See [`Problems::render`].
pub(super) fn report(problems: &Problems, style: Style) -> String {
    let renderer = match style {
        Style::Plain => Renderer::plain(),
        Style::Styled => Renderer::styled(),
    };
    let mut text = String::new();
    for of_one_file in problems.list.chunk_by(|a, b| a.path() == b.path()) {
        text.push_str(&heading(of_one_file));
        for problem in of_one_file.iter().take(MOST_DRAWN) {
            text.push('\n');
            text.push_str(&renderer.render(&[group(problem)]));
            text.push('\n');
        }
        if of_one_file.len() > MOST_DRAWN {
            text.push_str(&format!("\n... and {} more\n", of_one_file.len() - MOST_DRAWN));
        }
        text.push('\n');
    }
    text
}

fn heading(problems: &[Problem]) -> String {
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    let counts = [(errors, "error"), (problems.len() - errors, "warning")];
    let told = counts.iter().filter(|(count, _)| *count > 0);
    let told: Vec<String> = told.map(|(count, noun)| format!("{count} {noun}{}", if *count == 1 { "" } else { "s" })).collect();
    format!("{} in {}\n", told.join(", "), problems.first().map_or("", Problem::path))
}

fn group(problem: &Problem) -> Group<'_> {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let text = &problem.source.text;
    // The renderer reads all it is given: with the lines of the span alone, a thousand problems in a long file stay cheap.
    let lines = lines_around(text, &problem.span);
    let span = problem.span.start.saturating_sub(lines.start)..problem.span.end.saturating_sub(lines.start);
    let snippet = Snippet::source(text.get(lines.clone()).unwrap_or(""))
        .path(&problem.source.path)
        .line_start(line_of(text, lines.start) as usize)
        .annotation(AnnotationKind::Primary.span(span).label(&problem.label));
    let group = level.primary_title(&problem.message).element(snippet);
    match &problem.hint {
        Some(hint) => group.element(Level::HELP.message(hint)),
        None => group,
    }
}

/// The whole lines that hold the span.
fn lines_around(text: &str, span: &Range<usize>) -> Range<usize> {
    let start = text.get(..span.start).and_then(|before| before.rfind('\n')).map_or(0, |line_break| line_break + 1);
    let end = text.get(span.end..).and_then(|after| after.find('\n')).map_or(text.len(), |length| span.end + length);
    start..end
}
