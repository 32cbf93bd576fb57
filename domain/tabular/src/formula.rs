//! Text that a spreadsheet would take for a formula, in files of text that people open in one (CSV injection).
//!
//! Such a value is written with an apostrophe in front, its *mark*, which reading takes off again. A value that has
//! apostrophes in front of such text gets one more, so that every value reads back as it was.

use std::borrow::Cow;

/// The mark.
const MARK: char = '\'';

/// The text as it is written: with a mark where a spreadsheet would take it for a formula.
#[must_use]
pub fn marked(text: &str) -> Cow<'_, str> {
    if is_formula(text.trim_start_matches(MARK)) {
        Cow::Owned(format!("{MARK}{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// The text as it was before [`marked`].
#[must_use]
pub fn unmarked(text: &str) -> &str {
    match text.strip_prefix(MARK) {
        Some(rest) if is_formula(rest.trim_start_matches(MARK)) => rest,
        _ => text,
    }
}

/// Whether a spreadsheet would take a cell for a formula, by how it begins. A number never is one, whatever its
/// sign.
fn is_formula(text: &str) -> bool {
    match text.chars().next() {
        Some('+' | '-') => !is_plain_number(&text[1..]),
        Some('=' | '@' | '\t' | '\r' | '\n' | '＝' | '＋' | '－' | '＠') => true,
        _ => false,
    }
}

fn is_plain_number(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_spreadsheet_would_calculate_is_marked_and_nothing_else() {
        for formula in
            ["=cmd|'/c calc'!A0", "@SUM(A1)", "+1+1", "-2+3", "-", "+a", "\t=1", "\r=1", "＝1+1", "-.5"]
        {
            assert_eq!(marked(formula), format!("'{formula}"));
        }
        for plain in ["", "a=b", "-5", "-5.25", "+4917012345", "'", "'tis", "O'Brien", " =1", "2026-01-01"] {
            assert_eq!(marked(plain), plain);
        }
    }

    #[test]
    fn apostrophes_of_the_value_itself_stay() {
        for (value, written) in [("'=1", "''=1"), ("''@a", "'''@a"), ("'tis", "'tis"), ("'-5", "'-5")] {
            assert_eq!((marked(value).as_ref(), unmarked(written)), (written, value));
        }
        assert_eq!(unmarked("=1"), "=1", "a file of another program has no marks");
    }

    proptest! {
        #[test]
        fn every_text_reads_back_as_it_was(text in "['=+@\t\r\n＝0-9.a-]{0,6}|\\PC{0,6}") {
            let written = marked(&text);
            prop_assert_eq!(unmarked(&written), &text);
            prop_assert!(!is_formula(&written));
        }
    }
}
