//! What is wrong with a file: every problem at once, each drawn under its own line.
use std::{fmt, ops::Range, sync::Arc};

mod draw;

/// A policy file as it was read: what it is called in reports, and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// How the file is named to people; never opened here.
    pub path: String,
    /// The whole text.
    pub text: String,
}

impl Source {
    /// A source of this name and text.
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into() }
    }
}

/// How grave a problem is. An error keeps the file from being used; a warning does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// The file is not used.
    Error,
    /// The file is used; its author should know.
    Warning,
}

/// Whom a report is drawn for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// A file, a pipe, a log: no escape sequences.
    #[default]
    Plain,
    /// A terminal: with colours.
    Styled,
}

/// One problem, at one place of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub(crate) severity: Severity,
    pub(crate) message: String,
    pub(crate) label: String,
    pub(crate) hint: Option<String>,
    pub(crate) span: Range<usize>,
    pub(crate) source: Arc<Source>,
}

impl Problem {
    /// How grave it is.
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// What is wrong, in one line.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it, where that can be said.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The file.
    pub fn path(&self) -> &str {
        &self.source.path
    }

    /// Where in the file's text, in bytes.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The line, counted from 1.
    pub fn line(&self) -> u32 {
        line_of(&self.source.text, self.span.start)
    }
}

/// All problems that were found, by file and place. As an error it is the report without colours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    list: Vec<Problem>,
}

impl Problems {
    /// No problem.
    pub fn none() -> Self {
        Self::default()
    }

    /// Whether there is none, not even a warning.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether one of them is an error.
    pub fn has_errors(&self) -> bool {
        self.errors() > 0
    }

    /// How many errors there are.
    pub fn errors(&self) -> usize {
        self.iter().filter(|problem| problem.severity == Severity::Error).count()
    }

    /// How many warnings there are.
    pub fn warnings(&self) -> usize {
        self.list.len() - self.errors()
    }

    /// Each of them, by file and place.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.list.iter()
    }

    /// Adds others to these; what is said already is not said twice.
    pub fn extend(&mut self, others: Problems) {
        self.list.extend(others.list);
        self.sort();
        self.list.dedup();
    }

    /// The report: for each file a heading (`2 errors, 1 warning in FILE`), then each problem under its line; of more than a
    /// hundred in one file the rest is counted.
    pub fn render(&self, style: Style) -> String {
        draw::report(self, style)
    }

    pub(crate) fn from_list(list: Vec<Problem>) -> Self {
        let mut problems = Self { list };
        problems.sort();
        problems
    }

    fn sort(&mut self) {
        self.list.sort_by(|a, b| {
            (&a.source.path, a.span.start, a.span.end, a.severity).cmp(&(&b.source.path, b.span.start, b.span.end, b.severity))
        });
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(Style::Plain).trim_end())
    }
}

impl std::error::Error for Problems {}

/// The line of a byte offset, counted from 1.
pub(crate) fn line_of(text: &str, offset: usize) -> u32 {
    let breaks = text.bytes().take(offset).filter(|&byte| byte == b'\n').count();
    u32::try_from(breaks).unwrap_or(u32::MAX).saturating_add(1)
}

/// Whether a terminal, an editor or a browser would obey the character instead of showing it: control characters, and those that turn the
/// direction of what follows, so that a line reads as another one (Bidi_Control of Unicode's UAX #9, and the line and paragraph separators).
#[must_use]
pub fn is_obeyed(c: char) -> bool {
    c.is_control() || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text of the file's author inside a message: quoted, without control characters, cut where it is long.
pub(crate) fn quoted(text: &str) -> String {
    const MOST: usize = 80;
    let mut shown: String = text.chars().take(MOST).flat_map(char::escape_debug).collect();
    if text.chars().count() > MOST {
        shown.push('…');
    }
    format!("`{shown}`")
}
