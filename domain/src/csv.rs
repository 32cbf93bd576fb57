//! Writing CSV (RFC 4180).

/// The end of a line.
pub const LINE_END: &[u8] = b"\r\n";

/// Appends a cell, in quotes where it needs them.
pub fn push_cell(out: &mut Vec<u8>, text: &str) {
    let is_special = |byte: u8| matches!(byte, b'"' | b',' | b'\n' | b'\r');
    // White space at the ends would be lost on some readers.
    let is_padded = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_whitespace);
    let bytes = text.as_bytes();
    let plain =
        !bytes.iter().any(|byte| is_special(*byte)) && !is_padded(bytes.first()) && !is_padded(bytes.last());
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
