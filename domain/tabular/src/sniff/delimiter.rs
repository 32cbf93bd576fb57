//! Which of the usual delimiters splits the first records most evenly.

const CANDIDATES: [char; 4] = [',', ';', '\t', '|'];
const RECORDS: usize = 50;

pub(super) fn guess(text: &str, quote: char) -> char {
    let mut best = (None, ',');
    for delimiter in CANDIDATES {
        let score = score(text, delimiter, quote);
        if score > best.0 {
            best = (score, delimiter);
        }
    }
    best.1
}

/// The share of records that agree with the first, in thousandths, then the number of columns; `None` when
/// there is but one column.
fn score(text: &str, delimiter: char, quote: char) -> Option<(usize, usize)> {
    let mut records = csv::ReaderBuilder::new()
        .delimiter(u8::try_from(delimiter).ok()?)
        .quote(u8::try_from(quote).unwrap_or(b'"'))
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_bytes());
    // Text can be read from memory, and broken records are taken as they are.
    let mut columns: Vec<usize> =
        records.byte_records().take(RECORDS).map_while(Result::ok).map(|record| record.len()).collect();
    // The last record may have been cut off; it counts only when there is no other.
    if records.is_done() && columns.len() > 1 && !text.ends_with(['\n', '\r']) {
        columns.pop();
    }
    let first = columns.first().copied().filter(|first| *first > 1)?;
    let alike = columns.iter().filter(|count| **count == first).count();
    Some((alike * 1_000 / columns.len(), first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delimiter_is_the_one_that_splits_evenly() {
        assert_eq!(guess("a,b,c\n1,2,3\n", '"'), ',');
        assert_eq!(guess("name;price\nTea, green;1,50\nCoffee;2,50\n", '"'), ';');
        assert_eq!(guess("a\tb\n1,5\t2,5\n", '"'), '\t');
        assert_eq!(guess("a|b\n1|2\n", '"'), '|');
        assert_eq!(guess("\"a;b;c\",d\n\"1;2\",3\n", '"'), ',');
        assert_eq!(guess("single\n1\n", '"'), ',');
        assert_eq!(guess("5\" pipe;a\n6\" pipe;b\n7;c, d", '"'), ';');
        assert_eq!(guess("a;b\n1;2\n3", '"'), ';', "the last record is cut off");
    }
}
