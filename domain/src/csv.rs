//! Writing CSV (RFC 4180).

/// The end of a line.
pub const LINE_END: &[u8] = b"\r\n";

/// Appends a cell, in quotes where it needs them.
pub fn push_cell(out: &mut Vec<u8>, text: &str) {
    let plain = !text.contains(['"', ',', '\n', '\r'])
        && !text.starts_with(char::is_whitespace)
        && !text.ends_with(char::is_whitespace);
    if plain {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    for (n, part) in text.split('"').enumerate() {
        if n > 0 {
            out.extend_from_slice(b"\"\"");
        }
        out.extend_from_slice(part.as_bytes());
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_quoted_only_where_it_must_be() {
        let cases = [
            ("plain", "plain"),
            ("", ""),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            (" kept ", "\" kept \""),
        ];
        for (text, written) in cases {
            let mut out = Vec::new();
            push_cell(&mut out, text);
            assert_eq!(String::from_utf8(out).unwrap(), written);
        }
    }
}
