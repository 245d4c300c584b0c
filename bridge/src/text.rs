//! Text that knows which of its characters came from outside. Inside the template engine such a text is one string in which a
//! pair of marks, two characters that occur nowhere in the input, encloses each part from outside. Every operation that a
//! template can apply to a string goes through this file, so a template's logic never sees the marks.
use std::borrow::Cow;
use std::ops::Range;

use crate::run;

/// Both marks lie in U+10FF00..=U+10FFFD, private use; their first byte is rare enough to look for first.
const FIRST_BYTE: u8 = 0xF4;
pub const MARK_RANGE: Range<u32> = 0x10FF00..0x10FFFE;

fn has_marks(raw: &str) -> Option<(char, char)> {
    let (open, close) = run::marks()?;
    (raw.as_bytes().contains(&FIRST_BYTE) && raw.contains([open, close])).then_some((open, close))
}

/// Text without marks, and the byte ranges of it that came from outside: ordered, apart from each other, not empty.
#[derive(Clone, Debug, Default)]
pub struct Text<'a> {
    pub plain: Cow<'a, str>,
    pub outside: Vec<Range<usize>>,
}

impl<'a> Text<'a> {
    pub fn parse(raw: &'a str) -> Text<'a> {
        let Some((open, close)) = has_marks(raw) else {
            return Text { plain: Cow::Borrowed(raw), outside: Vec::new() };
        };
        let mut text = Text { plain: Cow::Owned(String::with_capacity(raw.len())), outside: Vec::new() };
        let mut depth = 0usize;
        for piece in raw.split_inclusive([open, close]) {
            let mark = piece.chars().next_back().filter(|c| *c == open || *c == close);
            let words = &piece[..piece.len() - mark.map_or(0, char::len_utf8)];
            text.push(words, depth > 0);
            match mark {
                Some(c) if c == open => depth += 1,
                Some(_) if depth > 0 => depth -= 1,
                // A close without an open: an operation lost the open, so all before it may be from outside.
                Some(_) => {
                    let end = text.plain.len();
                    text.outside.clear();
                    if end > 0 {
                        text.outside.push(0..end);
                    }
                }
                None => {}
            }
        }
        text
    }

    pub fn owned(plain: String, outside: bool) -> Text<'static> {
        let whole = 0..plain.len();
        Text { outside: if outside && !plain.is_empty() { vec![whole] } else { Vec::new() }, plain: Cow::Owned(plain) }
    }

    pub fn is_outside(&self) -> bool {
        !self.outside.is_empty()
    }

    pub fn push(&mut self, words: &str, outside: bool) {
        if words.is_empty() {
            return;
        }
        let begin = self.plain.len();
        self.plain.to_mut().push_str(words);
        if outside {
            self.add_range(begin..self.plain.len());
        }
    }

    fn add_range(&mut self, range: Range<usize>) {
        match self.outside.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.outside.push(range),
        }
    }

    pub fn append(&mut self, other: &Text) {
        let shift = self.plain.len();
        self.plain.to_mut().push_str(&other.plain);
        for range in &other.outside {
            self.add_range(range.start + shift..range.end + shift);
        }
    }

    /// The bytes of `range`, which must lie on character borders.
    pub fn slice(&self, range: Range<usize>) -> Text<'_> {
        let outside = self
            .outside
            .iter()
            .map(|r| r.start.max(range.start)..r.end.min(range.end))
            .filter(|r| r.start < r.end)
            .map(|r| r.start - range.start..r.end - range.start)
            .collect();
        Text { plain: Cow::Borrowed(&self.plain[range]), outside }
    }

    /// Applies `change` to each part by itself; right only for changes that look at no neighbour.
    pub fn map_parts(&self, change: impl Fn(&str) -> String) -> Text<'static> {
        let mut result = Text::default();
        let mut at = 0;
        for range in &self.outside {
            result.push(&change(&self.plain[at..range.start]), false);
            result.push(&change(&self.plain[range.clone()]), true);
            at = range.end;
        }
        result.push(&change(&self.plain[at..]), false);
        result
    }

    /// A text made of this one as a whole: from outside altogether if any of this one is.
    pub fn whole(&self, plain: String) -> Text<'static> {
        Text::owned(plain, self.is_outside())
    }

    /// The string with marks, as the engine holds it.
    pub fn raw(&self) -> String {
        let Some((open, close)) = run::marks().filter(|_| self.is_outside()) else {
            return self.plain.clone().into_owned();
        };
        let mut raw = String::with_capacity(self.plain.len() + 8 * self.outside.len());
        let mut at = 0;
        for range in &self.outside {
            raw.push_str(&self.plain[at..range.start]);
            raw.push(open);
            raw.push_str(&self.plain[range.clone()]);
            raw.push(close);
            at = range.end;
        }
        raw.push_str(&self.plain[at..]);
        raw
    }
}

/// The string without marks.
pub fn plain(raw: &str) -> Cow<'_, str> {
    Text::parse(raw).plain
}

/// White space as Python's str.strip() and str.isspace() see it.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// The byte range that is left of `plain` when characters of `set` (white space when None) are taken off its ends.
pub fn strip_range(plain: &str, set: Option<&str>, left: bool, right: bool) -> Range<usize> {
    let drop = |c: char| set.map_or_else(|| is_space(c), |s| s.contains(c));
    let begin = if left { plain.len() - plain.trim_start_matches(drop).len() } else { 0 };
    let end = if right { begin + plain[begin..].trim_end_matches(drop).len() } else { plain.len() };
    begin..end
}

/// Python's str.splitlines(): byte ranges of the lines, without their ends unless `keep`.
pub fn lines(plain: &str, keep: bool) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut begin = 0;
    let mut chars = plain.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let breaks =
            matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}');
        if !breaks {
            continue;
        }
        let mut end = at + c.len_utf8();
        if c == '\r' && chars.peek().is_some_and(|(_, next)| *next == '\n') {
            chars.next();
            end += 1;
        }
        ranges.push(begin..if keep { end } else { at });
        begin = end;
        if ranges.len() >= run::enough_items() {
            break; // too many for a list, which is refused when it is made
        }
    }
    if begin < plain.len() {
        ranges.push(begin..plain.len());
    }
    ranges
}

fn title_char(c: char) -> String {
    match c {
        'ß' => "Ss".into(),
        'ǆ' | 'ǅ' | 'Ǆ' => "ǅ".into(),
        'ǉ' | 'ǈ' | 'Ǉ' => "ǈ".into(),
        'ǌ' | 'ǋ' | 'Ǌ' => "ǋ".into(),
        'ǳ' | 'ǲ' | 'Ǳ' => "ǲ".into(),
        _ => c.to_uppercase().collect(),
    }
}

pub fn capitalize(plain: &str) -> String {
    let mut chars = plain.chars();
    chars.next().map_or_else(String::new, |first| title_char(first) + &chars.as_str().to_lowercase())
}

/// Python's str.title(): a letter after a letter is lower case, another one upper case.
pub fn title(plain: &str) -> String {
    let mut result = String::with_capacity(plain.len());
    let mut after_letter = false;
    for c in plain.chars() {
        if after_letter {
            result.extend(c.to_lowercase());
        } else {
            result.push_str(&title_char(c));
        }
        after_letter = c.is_lowercase() || c.is_uppercase();
    }
    result
}

pub fn swapcase(plain: &str) -> String {
    plain
        .chars()
        .flat_map(|c| if c.is_uppercase() { c.to_lowercase().collect::<Vec<_>>() } else { c.to_uppercase().collect() })
        .collect()
}
