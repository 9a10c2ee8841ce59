//! The colour of a verdict: one place says which word is good, bad or between, and every table and sentence takes it from here.

use anstyle::{AnsiColor, Style};

/// The style of a word that says how something is; none for a word that says nothing of the kind.
pub fn style(word: &str) -> Style {
    let colour = match word {
        "permitted" | "permits" | "ready" | "ok" | "both" | "answers" => AnsiColor::Green,
        "refused" | "refuses" | "not ready" | "PROBLEM" | "lost" | "KERNEL ALONE" | "SIDECAR ALONE" | "silent" => AnsiColor::Red,
        "would deny" | "warning" | "failed" | "audit" | "changes" => AnsiColor::Yellow,
        _ => return Style::new(),
    };
    Style::new().fg_color(Some(colour.into()))
}

/// The word in its colour, for [`crate::output::people`], which takes the colour off again where nobody wants it.
pub fn paint(word: &str) -> String {
    let style = style(word);
    format!("{style}{word}{style:#}")
}

/// A sentence whose first word is a verdict (`refused: github.com:22/tcp`), that word in its colour.
pub fn leading(text: &str) -> String {
    match text.split_once(':') {
        Some((word, rest)) => format!("{}:{rest}", paint(word)),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_coloured_and_nothing_else() {
        assert_eq!(paint("refused"), "\u{1b}[31mrefused\u{1b}[0m");
        assert_eq!(leading("permitted: a:443"), "\u{1b}[32mpermitted\u{1b}[0m: a:443");
        assert_eq!(leading("shop.toml:3: no verdict"), "shop.toml:3: no verdict");
        assert_eq!(paint("shop.web"), "shop.web");
    }
}
