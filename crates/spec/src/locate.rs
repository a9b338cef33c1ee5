//! Where in a document a reader stopped, as the path of a field.
//!
//! A decoder's error has a line and a column. To follow the text up to there gives the path without a second decoder
//! that keeps track of it, which would be as large as the first one.

use std::fmt::Write as _;

/// What the text is inside of.
enum Frame {
    /// An object, at the value of this key; none before the key.
    Object(Option<String>),
    /// An array, at this element.
    Array(usize),
}

/// The path of the value that a reader of `text` took, or was about to, when it stopped at this line and column, both
/// as serde_json counts them.
pub(crate) fn path(text: &[u8], line: usize, column: usize) -> String {
    let line_start = match line {
        0 | 1 => 0,
        n => text.iter().enumerate().filter(|(_, b)| **b == b'\n').nth(n - 2).map_or(text.len(), |(i, _)| i + 1),
    };
    let stop = line_start + column;
    let mut frames = Vec::new();
    let mut at = 0;
    while at <= stop && at < text.len() {
        let start = at;
        at += 1;
        let value = match text[start] {
            b'{' | b'[' if start == stop => true,
            b'{' => {
                frames.push(Frame::Object(None));
                false
            }
            b'[' => {
                frames.push(Frame::Array(0));
                false
            }
            b'}' | b']' => {
                frames.pop();
                at == stop
            }
            b',' => {
                match frames.last_mut() {
                    Some(Frame::Object(key)) => *key = None,
                    Some(Frame::Array(index)) => *index += 1,
                    None => {}
                }
                false
            }
            b'"' => {
                at = end_of_string(text, start);
                match frames.last_mut() {
                    Some(Frame::Object(key @ None)) => {
                        *key = Some(serde_json::from_slice(&text[start..at]).unwrap_or_default());
                        false
                    }
                    _ => at >= stop,
                }
            }
            b':' | b' ' | b'\t' | b'\n' | b'\r' => false,
            _ => {
                let length = text[at..].iter().position(|b| b",]} \t\n\r".contains(b));
                at += length.unwrap_or(text.len() - at);
                at >= stop
            }
        };
        if value {
            return text_of(&frames);
        }
    }
    // Between a key and its value, it is the object that is at fault.
    if let Some(Frame::Object(key)) = frames.last_mut() {
        *key = None;
    }
    text_of(&frames)
}

/// The index after a string's closing quote.
fn end_of_string(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < text.len() && text[at] != b'"' {
        at += if text[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(text.len())
}

fn text_of(frames: &[Frame]) -> String {
    let mut text = String::new();
    for frame in frames {
        match frame {
            Frame::Object(Some(key)) => push_key(&mut text, key),
            Frame::Object(None) => {}
            Frame::Array(index) => push_index(&mut text, *index),
        }
    }
    text
}

/// Adds an element to a path: `[2]`.
pub(crate) fn push_index(path: &mut String, index: usize) {
    // A String takes all that is written to it.
    let _ = write!(path, "[{index}]");
}

/// Adds a key to a path: `.key`, or `["the.key"]` if it could be mistaken for more than one.
pub(crate) fn push_key(path: &mut String, key: &str) {
    if key.is_empty() || !key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')) {
        let _ = write!(path, "[{key:?}]");
        return;
    }
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(key);
}

#[cfg(test)]
mod tests {
    use super::path;

    #[test]
    fn every_place_has_its_path() {
        let text = br#"{"a": [10, {"b\"c": "x]\\"}], "d":{}}"#;
        let cases = [("10", "a[0]"), ("[10", "a"), ("{\"b", "a[1]"), ("\"x]", "a[1][\"b\\\"c\"]"), ("{}}", "d")];
        for (start, expected) in cases {
            let column = text.windows(start.len()).position(|w| w == start.as_bytes()).unwrap();
            assert_eq!(path(text, 1, column), expected, "{start}");
        }
        assert_eq!(path(text, 1, text.len()), "");
        assert_eq!(path(text, 1, text.len() - 1), "d");
        assert_eq!(path(b"{\n\"a\":\n\n[1,\n2]}", 5, 1), "a[1]");
        // Whatever the text and the place, there is an answer.
        for (line, column) in [(0, 0), (9, 9), (1, 2)] {
            for text in [&b""[..], b"\"", b"\"\\", b"}]", b",", b"{\"a"] {
                assert_eq!(path(text, line, column), "");
            }
        }
    }
}
