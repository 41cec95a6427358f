//! Wraps long lines on narrow terminals: between words, but not within commands.

use std::borrow::Cow;

use terminal_size::{Width, terminal_size_of};
use textwrap::{Options, WordSeparator, WordSplitter, WrapAlgorithm};

/// Narrower terminals gain nothing from wrapping.
const NARROW: usize = 24;

/// Wraps a text for standard output.
pub(super) fn for_stdout(text: &str) -> Cow<'_, str> {
    fitted(text, terminal_size_of(std::io::stdout()))
}

/// Wraps a text for standard error.
pub(super) fn for_stderr(text: &str) -> Cow<'_, str> {
    fitted(text, terminal_size_of(std::io::stderr()))
}

/// Wraps a text for a terminal of this size; without a terminal, returns it as it is.
fn fitted(text: &str, size: Option<(Width, terminal_size::Height)>) -> Cow<'_, str> {
    match size {
        Some((Width(width), _)) if usize::from(width) >= NARROW => wrapped(text, width.into()),
        _ => text.into(),
    }
}

/// Wraps lines wider than `width`, with a hanging indent. JSON stays as it is.
fn wrapped(text: &str, width: usize) -> Cow<'_, str> {
    if text.lines().all(|line| textwrap::core::display_width(line) <= width) {
        return text.into();
    }
    let lines: Vec<Cow<'_, str>> = text.split('\n').map(|line| wrapped_line(line, width)).collect();
    lines.join("\n").into()
}

fn wrapped_line(line: &str, width: usize) -> Cow<'_, str> {
    if textwrap::core::display_width(line) <= width || line.starts_with('{') {
        return line.into();
    }
    // commands are meant to be copied, so they stay whole
    let whole = with_whole_commands(line);
    let indent = hanging(line, width);
    let options = Options::new(width)
        .subsequent_indent(&indent)
        .break_words(false)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation)
        .wrap_algorithm(WrapAlgorithm::FirstFit);
    textwrap::fill(&whole, options).replace(TIED, " ").into()
}

/// A placeholder for a space where the line must not break; a private-use character.
const TIED: char = '\u{f8ff}';

/// Ties the words between backticks, and those of a command at the end of a line.
fn with_whole_commands(line: &str) -> String {
    const COMMAND: &str = ": tril ";
    let (before, command) = line.rfind(COMMAND).map_or((line, ""), |at| line.split_at(at + 2));
    let mut whole = String::with_capacity(line.len());
    for (i, part) in before.split('`').enumerate() {
        if i > 0 {
            whole.push('`');
        }
        // odd parts are between backticks
        if i % 2 == 1 { whole.extend(part.chars().map(tied)) } else { whole.push_str(part) }
    }
    whole.extend(command.chars().map(tied));
    whole
}

fn tied(c: char) -> char {
    if c == ' ' { TIED } else { c }
}

/// The hanging indent of a line: its own margin, or the width of its label if it begins with one.
fn hanging(line: &str, width: usize) -> String {
    if let Some(text) = line.strip_prefix("  | ") {
        return line[..line.len() - text.len()].into();
    }
    let margin = line.len() - line.trim_start().len();
    let named = line[margin..].find("  ").map(|gap| {
        let rest = &line[margin + gap..];
        margin + gap + (rest.len() - rest.trim_start().len())
    });
    // a label wider than half the terminal leaves too little room next to it
    " ".repeat(named.filter(|&at| at <= width / 2).unwrap_or(margin))
}

#[cfg(test)]
mod tests {
    use super::wrapped;

    #[test]
    fn lines_break_between_words_with_a_hanging_indent() {
        for (width, text, lines) in [
            (30, "short", "short"),
            (
                40,
                "floor    0.1039 nats per character: the stories' own entropy",
                "floor    0.1039 nats per character: the\n         stories' own entropy",
            ),
            (
                40,
                "  evaluation     20.5 KiB  evaluation and samples",
                "  evaluation     20.5 KiB  evaluation\n                 and samples",
            ),
            (30, "  | Once upon a time there was a fox", "  | Once upon a time there was\n  | a fox"),
            (30, "error: there is no such thing as that", "error: there is no such thing\nas that"),
            (30, "one\ntwo words and more words than fit\nthree", "one\ntwo words and more words than\nfit\nthree"),
            // commands stay whole
            (30, "done; generate text with: tril generate runs/a", "done; generate text with:\ntril generate runs/a"),
            (30, "give what `tril train` wrote with --out", "give what `tril train` wrote\nwith --out"),
            (30, "it is better to say `tril train` here", "it is better to say\n`tril train` here"),
            (30, "{\"a\": 1, \"b\": 2, \"c\": 3, \"d\": 4}", "{\"a\": 1, \"b\": 2, \"c\": 3, \"d\": 4}"),
            // a word wider than the terminal
            (
                30,
                "see runs/a_folder_with_a_very_long_name_in_it now",
                "see\nruns/a_folder_with_a_very_long_name_in_it\nnow",
            ),
            // two columns a character
            (24, "これは 日本語の とても長い 文章です", "これは 日本語の\nとても長い 文章です"),
        ] {
            assert_eq!(wrapped(text, width), lines, "{width}");
        }
    }
}
