//! From a file's text to a policy file, or to every problem it has: the text is walked whole, whatever is wrong with a part of it.
use std::{collections::HashSet, ops::Range, sync::Arc};

use toml::de::DeTable;

use crate::{
    file::PolicyFile,
    problem::{Problems, Severity, Source},
};

mod budget;
mod fields;
mod host;
mod range;
mod report;
mod rules;
mod shared;
mod top;
mod value;

pub(crate) use range::takes_dns;
use report::Report;

/// A ConfigMap holds no more; a longer text is no policy but a mistake.
const LONGEST: usize = 1024 * 1024;

/// What became of a text.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The file; `None` if one of the problems is an error.
    pub file: Option<PolicyFile>,
    /// Every problem that was found, warnings included.
    pub problems: Problems,
}

/// Reads a policy file. Never fails half-way: all its problems are found at once.
pub fn parse(source: &Source) -> Parsed {
    let source = Arc::new(source.clone());
    let mut report = Report::new(Arc::clone(&source));
    if source.text.len() > LONGEST {
        report.error(
            0..0,
            "the file is longer than 1 MiB",
            "too long for a policy",
            Some("split it: all files that select a pod are united".to_owned()),
        );
        return Parsed { file: None, problems: report.into_problems() };
    }
    let (table, mistakes) = DeTable::parse_recoverable(&source.text);
    let torn: Vec<Range<usize>> = mistakes.iter().map(|mistake| mistake.span().unwrap_or(0..0)).collect();
    let read = top::policy_file(&mut report, table.get_ref());
    if !torn.is_empty() {
        // What stands on a torn line was guessed, and what seems to be missing may be there: only what is sure is told.
        let torn_lines: HashSet<u32> = torn.iter().map(|span| report.line(span)).collect();
        report.keep_certain(&torn_lines);
        let mut told = HashSet::new();
        for (mistake, span) in mistakes.iter().zip(torn) {
            // One mistake a line: the others follow from it.
            if told.insert(report.line(&span)) {
                report.error(span, format!("not TOML: {}", mistake.message()), "here", None);
            }
        }
    }
    let problems = report.into_problems();
    let sound = problems.iter().all(|problem| problem.severity() == Severity::Warning);
    Parsed { file: read.filter(|_| sound), problems }
}

#[cfg(test)]
mod tests;
