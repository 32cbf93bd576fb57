//! Finds where a JSON value ends without understanding it: brackets are counted, strings are stepped over.
//! Needs no stack however deep the value nests, and can be fed in pieces.

#[derive(Default)]
pub(crate) struct Scanner {
    kind: Kind,
    depth: u64,
    in_string: bool,
    escaped: bool,
}

#[derive(Default, PartialEq, Clone, Copy)]
enum Kind {
    #[default]
    Unknown,
    /// A string, an array or an object: ends with its own last byte.
    Closed,
    /// A number or a word: ends where something else begins.
    Open,
}

impl Scanner {
    /// How many of the bytes still belong to the value, if it ends among them. The first byte ever given is the
    /// value's first.
    pub(crate) fn find_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            if self.in_string {
                at += self.step_over_string(&bytes[at..])?;
                if self.depth == 0 {
                    return Some(at);
                }
                continue;
            }
            let byte = bytes[at];
            if self.kind == Kind::Unknown {
                self.kind = if matches!(byte, b'"' | b'[' | b'{') { Kind::Closed } else { Kind::Open };
            }
            if self.kind == Kind::Open {
                if matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\r' | b'\n') {
                    return Some(at);
                }
                at += 1;
                continue;
            }
            at += 1;
            match byte {
                b'"' => self.in_string = true,
                b'[' | b'{' => self.depth += 1,
                b']' | b'}' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Some(at);
                    }
                }
                _ => {}
            }
        }
        None
    }

    /// The length of the string's rest including its closing quote, if it closes here.
    fn step_over_string(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        if self.escaped {
            if bytes.is_empty() {
                return None;
            }
            self.escaped = false;
            at = 1;
        }
        while let Some(found) = memchr::memchr2(b'"', b'\\', &bytes[at..]) {
            at += found + 1;
            if bytes[at - 1] == b'"' {
                self.in_string = false;
                return Some(at);
            }
            if at == bytes.len() {
                self.escaped = true;
                return None;
            }
            at += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            any::<i32>().prop_map(|number| number.to_string()),
            "\\PC{0,8}|[\"\\\\\\[\\]{}]{0,4}".prop_map(|text| serde_json::Value::String(text).to_string()),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4)
                    .prop_map(|items| format!("[{}]", items.join(", "))),
                prop::collection::vec(inner, 0..4).prop_map(|items| {
                    let members: Vec<_> = items.iter().map(|item| format!("\"}}\": {item}")).collect();
                    format!("{{{}}}", members.join(","))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_values_end_is_found_however_the_bytes_are_cut(value in json(), cut in 1_usize..9) {
            let text = format!("{value},1]");
            let mut scanner = Scanner::default();
            let mut before = 0;
            let mut found = None;
            for piece in text.as_bytes().chunks(cut) {
                if let Some(end) = scanner.find_end(piece) {
                    found = Some(before + end);
                    break;
                }
                before += piece.len();
            }
            prop_assert_eq!(found, Some(value.len()));
        }
    }
}
