//! Which of the usual delimiters splits the first records most evenly.

const CANDIDATES: [char; 4] = [',', ';', '\t', '|'];
const RECORDS: usize = 50;

pub(super) fn guess(text: &str, quote: char) -> char {
    let records = count_per_record(text, quote);
    let score = |candidate: usize| {
        let first = records.first().map_or(0, |counts| counts[candidate]);
        let alike = records.iter().filter(|counts| counts[candidate] == first).count();
        // The share of records that agree with the header decides, then the number of columns.
        (first > 0).then(|| (alike * 1_000 / records.len(), first))
    };
    let mut best = (None, ',');
    for (index, delimiter) in CANDIDATES.into_iter().enumerate() {
        let score = score(index);
        if score > best.0 {
            best = (score, delimiter);
        }
    }
    best.1
}

/// How often each candidate stands outside of quotes, for each of the first records.
fn count_per_record(text: &str, quote: char) -> Vec<[usize; 4]> {
    let mut records = Vec::new();
    let mut counts = [0; 4];
    let mut quoted = false;
    let mut blank = true;
    for c in text.chars() {
        if c == quote {
            quoted = !quoted;
            blank = false;
        } else if !quoted && matches!(c, '\n' | '\r') {
            if !blank {
                records.push(counts);
            }
            if records.len() == RECORDS {
                return records;
            }
            (counts, blank) = ([0; 4], true);
        } else if !quoted {
            blank = false;
            if let Some(index) = CANDIDATES.iter().position(|candidate| *candidate == c) {
                counts[index] += 1;
            }
        }
    }
    // The last record may have been cut off; it counts only when there is no other.
    if records.is_empty() && !blank {
        records.push(counts);
    }
    records
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
    }
}
