//! Which encoding a text has: what its byte order mark says, or what its bytes allow.

use crate::Encoding;

pub(super) fn detect(head: &[u8]) -> Encoding {
    if head.starts_with(b"\xef\xbb\xbf") {
        return Encoding::UTF_8;
    }
    if head.starts_with(b"\xff\xfe") {
        return Encoding::UTF_16LE;
    }
    if head.starts_with(b"\xfe\xff") {
        return Encoding::UTF_16BE;
    }
    if let Some(encoding) = utf16_without_mark(head) {
        return encoding;
    }
    match std::str::from_utf8(head) {
        Ok(_) => Encoding::UTF_8,
        // The head may end in the middle of a character.
        Err(error) if error.error_len().is_none() => Encoding::UTF_8,
        Err(_) => Encoding::WINDOWS_1252,
    }
}

/// Text in Western scripts has a zero in nearly every other byte of UTF-16.
fn utf16_without_mark(head: &[u8]) -> Option<Encoding> {
    let sample = &head[..head.len().min(4 << 10) & !1];
    let zeros = |parity: usize| sample.iter().skip(parity).step_by(2).filter(|byte| **byte == 0).count();
    let (even, odd, pairs) = (zeros(0), zeros(1), sample.len() / 2);
    if pairs == 0 {
        None
    } else if odd * 2 > pairs && even * 20 < pairs {
        Some(Encoding::UTF_16LE)
    } else if even * 2 > pairs && odd * 20 < pairs {
        Some(Encoding::UTF_16BE)
    } else {
        None
    }
}

/// The head as text, as far as it is whole.
pub(super) fn decode_head(head: &[u8], encoding: Encoding) -> String {
    let mut text = String::with_capacity(head.len() * 3 + 16);
    let _ = encoding.decoder().decode_to_string(head, &mut text, false);
    text
}

/// Whether this can't be text: too many control characters.
pub(super) fn is_binary(text: &str) -> bool {
    const SAMPLE: usize = 16 << 10;
    let sample = || text.chars().take(SAMPLE);
    let strange = sample()
        .filter(|c| {
            (c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1a}' | '\u{85}'))
                || *c == '\u{fffd}'
        })
        .count();
    strange > 8 && strange * 50 > sample().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_detected_with_and_without_a_byte_order_mark() {
        let utf16 = |text: &str, little: bool| -> Vec<u8> {
            text.encode_utf16()
                .flat_map(|unit| if little { unit.to_le_bytes() } else { unit.to_be_bytes() })
                .collect()
        };
        assert_eq!(detect(b"name\nJos\xc3\xa9"), Encoding::UTF_8);
        assert_eq!(detect(b"name\nJos\xc3"), Encoding::UTF_8);
        assert_eq!(detect(b"\xef\xbb\xbfname"), Encoding::UTF_8);
        assert_eq!(detect(b"name\nJos\xe9\n"), Encoding::WINDOWS_1252);
        assert_eq!(detect(&utf16("name,größe\n", true)), Encoding::UTF_16LE);
        assert_eq!(detect(&utf16("name,größe\n", false)), Encoding::UTF_16BE);
        assert_eq!(detect(&utf16("\u{feff}名前", true)), Encoding::UTF_16LE);
        assert_eq!(detect(b"a\0b,c\n"), Encoding::UTF_8);
    }
}
