//! Lines as the sidecar sends them, one after the other: what is of a later version is counted and passed over, a complaint ends it.

use std::io::{BufRead, Read};
use std::path::PathBuf;

use crate::control::client::{self, AskError};
use crate::record::Line;

/// The longest line that is read.
const LINE_BYTES: u64 = 1 << 20;

/// What was read.
#[derive(Debug)]
pub enum Heard {
    /// A line and its text.
    Line(String, Box<Line>),
    /// What follows was told after the question.
    Mark,
    /// The sidecar has said all.
    End,
}

/// The sidecar's side of a talk.
#[derive(Debug)]
pub struct Reading<R> {
    reader: R,
    unknown: u64,
}

/// What is said of lines that were passed over.
pub fn passed_over(count: u64) -> String {
    let lines = if count == 1 { "1 line" } else { &format!("{count} lines") };
    format!("not shown, as this command does not know it: {lines} (is the sidecar newer?)")
}

impl<R: BufRead> Reading<R> {
    /// Reads from there.
    pub fn new(reader: R) -> Self {
        Reading { reader, unknown: 0 }
    }

    /// How many lines were passed over.
    pub fn unknown(&self) -> u64 {
        self.unknown
    }

    /// The next thing that is known.
    pub fn hear(&mut self) -> Result<Heard, AskError> {
        loop {
            let mut text = String::new();
            let read = self.reader.by_ref().take(LINE_BYTES).read_line(&mut text);
            if read.map_err(|source| AskError::Talk { path: PathBuf::new(), source })? == 0 {
                return Ok(Heard::End);
            }
            let text = text.trim_end();
            if text.is_empty() {
                return Ok(Heard::Mark);
            }
            match client::understood::<Line>(text) {
                Ok(line) => return Ok(Heard::Line(text.to_owned(), Box::new(line))),
                Err(AskError::NotUnderstood { .. }) => self.unknown += 1,
                Err(complaint) => return Err(complaint),
            }
        }
    }
}
