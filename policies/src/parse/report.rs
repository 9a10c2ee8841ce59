//! Where the walk puts down what it finds.
use std::{collections::HashSet, ops::Range, sync::Arc};

use crate::problem::{Problem, Problems, Severity, Source};

/// The problems found so far in one file.
pub(super) struct Report {
    source: Arc<Source>,
    /// Where each line ends: every rule asks for its line, and counting from the start each time would add up.
    line_ends: Vec<usize>,
    found: Vec<Found>,
}

struct Found {
    problem: Problem,
    /// Whether it is about something that is not there.
    absence: bool,
}

impl Report {
    pub(super) fn new(source: Arc<Source>) -> Self {
        let line_ends = source.text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(place, _)| place).collect();
        Self { source, line_ends, found: Vec::new() }
    }

    pub(super) fn source(&self) -> &Arc<Source> {
        &self.source
    }

    pub(super) fn line(&self, span: &Range<usize>) -> u32 {
        let before = self.line_ends.partition_point(|&end| end < span.start);
        u32::try_from(before).unwrap_or(u32::MAX).saturating_add(1)
    }

    pub(super) fn error(&mut self, span: Range<usize>, message: impl Into<String>, label: impl Into<String>, hint: Option<String>) {
        self.add(Severity::Error, span, message.into(), label.into(), hint, false);
    }

    pub(super) fn warning(&mut self, span: Range<usize>, message: impl Into<String>, label: impl Into<String>, hint: Option<String>) {
        self.add(Severity::Warning, span, message.into(), label.into(), hint, false);
    }

    /// An error about something that is not there; `span` is where it should be.
    pub(super) fn missing(&mut self, span: Range<usize>, message: impl Into<String>, label: impl Into<String>, hint: Option<String>) {
        self.add(Severity::Error, span, message.into(), label.into(), hint, true);
    }

    /// Forgets what is said of these lines, and of what is not there.
    pub(super) fn keep_certain(&mut self, torn_lines: &HashSet<u32>) {
        let found = std::mem::take(&mut self.found);
        self.found = found.into_iter().filter(|found| !found.absence && !torn_lines.contains(&self.line(&found.problem.span))).collect();
    }

    pub(super) fn into_problems(self) -> Problems {
        Problems::from_list(self.found.into_iter().map(|found| found.problem).collect())
    }

    fn add(&mut self, severity: Severity, span: Range<usize>, message: String, label: String, hint: Option<String>, absence: bool) {
        let problem = Problem { severity, message, label, hint, span, source: Arc::clone(&self.source) };
        self.found.push(Found { problem, absence });
    }
}

/// `did you mean ...?`, if one of the known words is close enough to be meant.
pub(super) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    // A word of hundreds of letters is no typing mistake, and comparing it costs.
    if word.len() > 64 {
        return None;
    }
    let distances = known.into_iter().map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate));
    let (distance, nearest) = distances.min()?;
    (distance <= nearest.len() / 3 + 1).then(|| format!("did you mean `{nearest}`?"))
}
