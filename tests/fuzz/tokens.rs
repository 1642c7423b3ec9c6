//! What is done to text: JSON, TOML, URLs and single words.

use std::ops::Range;

use crate::chance::Chance;

const NASTY: [&str; 62] = [
    "0",
    "-1",
    "-0",
    "1",
    "255",
    "256",
    "65535",
    "65536",
    "2147483648",
    "4294967295",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775808",
    "1e3",
    "1e400",
    "0.1",
    "00",
    "null",
    "true",
    "false",
    "[]",
    "{}",
    "\"\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"\\u202e\"",
    "\"\\n\"",
    "\"a\\tb\"",
    "\"\\u001b[2J\"",
    "\"-9999-01-02T01:59:59Z\"",
    "\"9999-12-30T22:00:00.999999999Z\"",
    "\"1970-01-01T00:00:00Z\"",
    "\"2026-03-29T02:30:00+02:00\"",
    "\"..\"",
    "\"../../etc\"",
    "\"00000000000000000000000000\"",
    "\"7ZZZZZZZZZZZZZZZZZZZZZZZZZ\"",
    "\"100y\"",
    "\"36525d\"",
    "\"18446744073709551615B\"",
    "\"00:00-24:00\"",
    "\"23:59-00:00\"",
    "\"Europe/Berlin\"",
    "\"Antarctica/Troll\"",
    "inf",
    "nan",
    "0x7fffffffffffffff",
    "1979-05-27T07:32:00Z",
    "'''\n'''",
    "\"\"\"\n\"\"\"",
    "\u{0}",
    "\u{1b}",
    "\u{a0}",
    "\u{2028}",
    "\u{202e}",
    "\u{feff}",
    "ß",
    "\u{1d7d9}",
];
const BRACKETS: [(&str, &str); 3] = [("[", "]"), ("{\"a\":", "}"), ("(", ")")];

/// Strings with their quotes, words and numbers, and single other characters; white space lies between them.
pub fn tokens(text: &str) -> Vec<Range<usize>> {
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '+');
    let mut tokens = Vec::new();
    let mut characters = text.char_indices().peekable();
    while let Some((start, first)) = characters.next() {
        if first.is_whitespace() {
            continue;
        }
        let mut end = start + first.len_utf8();
        if first == '"' {
            let mut escaped = false;
            for (at, c) in characters.by_ref() {
                end = at + c.len_utf8();
                if c == '"' && !escaped {
                    break;
                }
                escaped = c == '\\' && !escaped;
            }
        } else if is_word(first) {
            while let Some((at, c)) = characters.next_if(|(_, c)| is_word(*c)) {
                end = at + c.len_utf8();
            }
        }
        tokens.push(start..end);
    }
    tokens
}

/// All different tokens of some texts.
pub fn words(texts: &[Vec<u8>]) -> Vec<String> {
    let texts = texts.iter().filter_map(|text| std::str::from_utf8(text).ok());
    let mut words: Vec<String> =
        texts.flat_map(|text| tokens(text).into_iter().map(|token| text[token].to_owned()).collect::<Vec<_>>()).collect();
    words.sort_unstable();
    words.dedup();
    words
}

/// Tokens that can often stand for one another.
#[derive(PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Word,
    Other,
}

fn kind(token: &str) -> Kind {
    match token.trim_start_matches('-').chars().next() {
        Some('"') => Kind::Text,
        Some('0'..='9') => Kind::Number,
        Some(c) if c.is_alphabetic() => Kind::Word,
        _ => Kind::Other,
    }
}

/// Changes a token, a number or a line; what is no text is left alone.
pub fn change(chance: &mut Chance, bytes: &mut Vec<u8>, words: &[String]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let tokens = tokens(text);
    if tokens.is_empty() {
        bytes.extend(chance.pick(words).bytes());
        return;
    }
    let at = chance.below(tokens.len());
    let token = tokens[at].clone();
    let (place, new) = match chance.below(14) {
        0..=3 => {
            let wanted = kind(&text[token.clone()]);
            let all = words.iter().map(String::as_str).chain(NASTY);
            let like: Vec<&str> = all.filter(|word| kind(word) == wanted).collect();
            (token, if like.is_empty() { String::new() } else { (*chance.pick(&like)).to_owned() })
        }
        4..=6 => number(chance, text),
        7 => line(chance, text),
        8 => (token, String::new()),
        // A member twice, or a whole table.
        9 => {
            let last = tokens[(at + chance.below(24)).min(tokens.len() - 1)].end;
            (token.start..token.start, format!("{},", &text[token.start..last]))
        }
        10 => {
            let (open, close) = *chance.pick(&BRACKETS);
            let depth = *chance.pick(&[1, 2, 100, 130, 1000]);
            let inner = &text[token.clone()];
            (token, format!("{}{inner}{}", open.repeat(depth), close.repeat(depth)))
        }
        11 => {
            let inside = token.start + chance.below(token.len() + 1);
            if !text.is_char_boundary(inside) {
                return;
            }
            (inside..inside, (*chance.pick(&NASTY)).to_owned())
        }
        12 => {
            let long = text[token.clone()].trim_matches('"').repeat(1 + chance.below(100));
            (token, if chance.once_in(2) { format!("\"{long}\"") } else { long })
        }
        _ => (token, (*chance.pick(&NASTY)).to_owned()),
    };
    bytes.splice(place, new.into_bytes());
}

/// Another number in place of some digits, wherever they stand.
fn number(chance: &mut Chance, text: &str) -> (Range<usize>, String) {
    let starts: Vec<usize> = text
        .split(|c: char| !c.is_ascii_digit())
        .filter(|digits| !digits.is_empty())
        .map(|digits| digits.as_ptr().addr() - text.as_ptr().addr())
        .collect();
    if starts.is_empty() {
        return (0..0, String::new());
    }
    let start = *chance.pick(&starts);
    let digits = text[start..].bytes().take_while(u8::is_ascii_digit).count();
    let old = text[start..start + digits].parse::<u128>().unwrap_or_default();
    let new = match chance.below(4) {
        0 => old.saturating_add(1),
        1 => old.saturating_sub(1),
        2 => *chance.pick(&[0, 1, 7, 12, 23, 24, 31, 59, 60, 99, 100, 365, 366, 9999, 36_525, 36_526]),
        _ => *chance.pick(&[
            255,
            256,
            65_535,
            65_536,
            1 << 31,
            (1 << 32) - 1,
            1 << 32,
            (1 << 53) + 1,
            (1 << 63) - 1,
            1 << 63,
            (1 << 64) - 1,
            1 << 64,
        ]),
    };
    // Most often as wide as it was: dates and times have their widths.
    let width = if chance.once_in(4) { 0 } else { digits.min(20) };
    let text = format!("{new:0width$}");
    (start..start + digits, text)
}

/// A line twice, or not at all, or another's place.
fn line(chance: &mut Chance, text: &str) -> (Range<usize>, String) {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let at = chance.below(lines.len());
    let start: usize = lines[..at].iter().map(|line| line.len()).sum();
    let new = match chance.below(3) {
        0 => String::new(),
        1 => lines[at].repeat(2),
        _ => (*chance.pick(&lines)).to_owned(),
    };
    (start..start + lines[at].len(), new)
}
