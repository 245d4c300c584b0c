//! JSON in (the messages and variables of one rendering) and out (the tojson filter, as Python's json.dumps writes it).
use minijinja::value::ValueKind;
use minijinja::{Error, Value};

use crate::run::{check_size, fail};
use crate::text::{Text, MARK_RANGE};
use crate::value::{dict, float_repr, iterate, list, number, pairs, string, to_str, type_name, Number, MAX_DEPTH};

/// Role names that templates know by name and build control tokens from ("<|" + role + "|>"). Only these are the template's own words.
const ROLES: [&str; 7] = ["system", "developer", "user", "assistant", "tool", "function", "ipython"];

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Messages,
    Message,
    Elsewhere,
}

struct Parser<'a> {
    rest: &'a [u8],
    all: &'a str,
    marks: Option<(char, char)>,
}

/// Parses the object of template variables. With `marks`, every string and key gets them, apart from well-known role names.
pub fn parse_variables(source: &str, marks: Option<(char, char)>) -> Result<Vec<(String, Value)>, Error> {
    let mut parser = Parser { rest: source.as_bytes(), all: source, marks };
    parser.space();
    parser.expect(b'{')?;
    let mut variables = Vec::new();
    parser.members(|parser| {
        let name = parser.string()?;
        parser.space();
        parser.expect(b':')?;
        let place = if name == "messages" { Place::Messages } else { Place::Elsewhere };
        let value = parser.value(place, 1)?;
        variables.push((name, value));
        Ok(())
    })?;
    Ok(variables)
}

impl Parser<'_> {
    fn bad(&self, what: &str) -> Error {
        fail(format!("{what} at byte {} of the variables", self.all.len() - self.rest.len()))
    }

    fn space(&mut self) {
        while let [b' ' | b'\n' | b'\r' | b'\t', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), Error> {
        match self.rest {
            [first, rest @ ..] if *first == byte => {
                self.rest = rest;
                Ok(())
            }
            _ => Err(self.bad("unexpected JSON")),
        }
    }

    /// The members of an object whose `{` has been read.
    fn members(&mut self, mut member: impl FnMut(&mut Self) -> Result<(), Error>) -> Result<(), Error> {
        self.sequence(b'}', &mut member)
    }

    fn sequence(&mut self, end: u8, item: &mut dyn FnMut(&mut Self) -> Result<(), Error>) -> Result<(), Error> {
        self.space();
        if self.rest.first() == Some(&end) {
            self.rest = &self.rest[1..];
            return Ok(());
        }
        loop {
            self.space();
            item(self)?;
            self.space();
            match self.rest {
                [b',', rest @ ..] => self.rest = rest,
                [first, rest @ ..] if *first == end => {
                    self.rest = rest;
                    return Ok(());
                }
                _ => return Err(self.bad("unexpected JSON")),
            }
        }
    }

    fn value(&mut self, place: Place, depth: usize) -> Result<Value, Error> {
        if depth > MAX_DEPTH {
            return Err(fail(format!("the messages or variables are nested deeper than {MAX_DEPTH}")));
        }
        self.space();
        match self.rest.first() {
            Some(b'{') => {
                self.rest = &self.rest[1..];
                let mut entries = Vec::new();
                self.members(|parser| {
                    let key = parser.string()?;
                    parser.space();
                    parser.expect(b':')?;
                    parser.space();
                    let role = place == Place::Message && key == "role" && parser.rest.first() == Some(&b'"');
                    let value = if role { parser.role()? } else { parser.value(Place::Elsewhere, depth + 1)? };
                    entries.push((parser.mark(key), value));
                    Ok(())
                })?;
                dict(entries)
            }
            Some(b'[') => {
                self.rest = &self.rest[1..];
                let inner = if place == Place::Messages { Place::Message } else { Place::Elsewhere };
                let mut items = Vec::new();
                self.sequence(b']', &mut |parser| {
                    items.push(parser.value(inner, depth + 1)?);
                    Ok(())
                })?;
                list(items)
            }
            Some(b'"') => {
                let words = self.string()?;
                Ok(self.mark(words))
            }
            Some(b't') => self.word("true", Value::from(true)),
            Some(b'f') => self.word("false", Value::from(false)),
            Some(b'n') => self.word("null", Value::from(())),
            _ => self.number(),
        }
    }

    fn role(&mut self) -> Result<Value, Error> {
        let words = self.string()?;
        Ok(if ROLES.contains(&words.as_str()) { string(words) } else { self.mark(words) })
    }

    fn mark(&self, words: String) -> Value {
        match self.marks {
            Some((open, close)) if !words.is_empty() => string(format!("{open}{words}{close}")),
            _ => string(words),
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, Error> {
        match self.rest.strip_prefix(word.as_bytes()) {
            Some(rest) => {
                self.rest = rest;
                Ok(value)
            }
            None => Err(self.bad("unexpected JSON")),
        }
    }

    fn number(&mut self) -> Result<Value, Error> {
        let end = self.rest.iter().position(|b| !matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'));
        let (digits, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        let digits = std::str::from_utf8(digits).unwrap_or_default();
        let value = match digits.parse::<i64>() {
            Ok(n) => Value::from(n),
            Err(_) => match (digits.parse::<u64>(), digits.parse::<f64>()) {
                (Ok(n), _) => Value::from(n),
                (_, Ok(f)) => Value::from(f),
                _ => return Err(self.bad("a bad number")),
            },
        };
        self.rest = rest;
        Ok(value)
    }

    fn string(&mut self) -> Result<String, Error> {
        self.expect(b'"')?;
        let mut words = String::new();
        loop {
            let begin = self.all.len() - self.rest.len();
            let Some(run) = self.rest.iter().position(|b| matches!(b, b'"' | b'\\')) else {
                return Err(self.bad("an unfinished string"));
            };
            words.push_str(&self.all[begin..begin + run]);
            let stop = self.rest[run];
            self.rest = &self.rest[run + 1..];
            if stop == b'"' {
                return Ok(words);
            }
            let escape = self.rest.first().copied();
            self.rest = self.rest.get(1..).unwrap_or_default();
            words.push(match escape {
                Some(c @ (b'"' | b'\\' | b'/')) => c as char,
                Some(b'b') => '\u{8}',
                Some(b'f') => '\u{c}',
                Some(b'n') => '\n',
                Some(b'r') => '\r',
                Some(b't') => '\t',
                Some(b'u') => self.unicode()?,
                _ => return Err(self.bad("a bad escape")),
            });
        }
    }

    fn hex(&mut self) -> Result<u32, Error> {
        let digits = self.rest.get(..4).and_then(|d| std::str::from_utf8(d).ok());
        let code = digits.and_then(|d| u32::from_str_radix(d, 16).ok()).ok_or_else(|| self.bad("a bad escape"))?;
        self.rest = &self.rest[4..];
        Ok(code)
    }

    fn unicode(&mut self) -> Result<char, Error> {
        let first = self.hex()?;
        if (0xD800..0xDC00).contains(&first) && self.rest.starts_with(b"\\u") {
            self.rest = &self.rest[2..];
            let second = self.hex()?;
            let code = 0x10000 + ((first - 0xD800) << 10) + (second.wrapping_sub(0xDC00) & 0x3FF);
            return char::from_u32(code).ok_or_else(|| self.bad("a bad escape"));
        }
        char::from_u32(first).ok_or_else(|| self.bad("a lone surrogate"))
    }
}

/// Two characters that occur in none of `sources`, to be the marks. None when somebody used them all up.
pub fn choose_marks(sources: &[&str]) -> Option<(char, char)> {
    let mut used = [false; (MARK_RANGE.end - MARK_RANGE.start) as usize];
    for source in sources.iter().filter(|s| s.as_bytes().contains(&0xF4)) {
        for c in source.chars().filter(|c| MARK_RANGE.contains(&(*c as u32))) {
            used[(c as u32 - MARK_RANGE.start) as usize] = true;
        }
    }
    let mut free = MARK_RANGE.filter(|c| !used[(c - MARK_RANGE.start) as usize]).filter_map(char::from_u32);
    Some((free.next()?, free.next()?))
}

/// The options of transformers' tojson.
pub struct Style {
    pub ensure_ascii: bool,
    pub indent: Option<String>,
    pub item_separator: String,
    pub key_separator: String,
    pub sort_keys: bool,
}

pub fn dump(value: &Value, style: &Style) -> Result<String, Error> {
    let mut out = String::new();
    write(value, style, 0, &mut out)?;
    Ok(out)
}

fn new_line(style: &Style, depth: usize, out: &mut String) {
    if let Some(indent) = &style.indent {
        out.push('\n');
        for _ in 0..depth {
            out.push_str(indent);
        }
    }
}

fn write(value: &Value, style: &Style, depth: usize, out: &mut String) -> Result<(), Error> {
    check_size(Some(out.len()))?;
    match value.kind() {
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => match number(value) {
            Some(Number::Float(f)) => out.push_str(&json_float(f)),
            _ => out.push_str(&value.to_string()),
        },
        ValueKind::String => write_string(value.as_str().unwrap_or_default(), style, out),
        ValueKind::Seq => {
            let items = iterate(value)?;
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { &style.item_separator });
                new_line(style, depth + 1, out);
                write(item, style, depth + 1, out)?;
            }
            if !items.is_empty() {
                new_line(style, depth, out);
            }
            out.push(']');
        }
        ValueKind::Map => {
            let mut entries = pairs(value).ok_or_else(|| fail("this value is not JSON serializable"))?;
            if value.downcast_object_ref::<crate::value::Dict>().is_none() {
                return Err(fail("this value is not JSON serializable"));
            }
            if style.sort_keys {
                let mut failure = None;
                entries.sort_by(|(a, _), (b, _)| {
                    crate::value::compare(a, b).unwrap_or_else(|error| {
                        failure = Some(error);
                        std::cmp::Ordering::Equal
                    })
                });
                if let Some(error) = failure {
                    return Err(error);
                }
            }
            out.push('{');
            for (at, (key, item)) in entries.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { &style.item_separator });
                new_line(style, depth + 1, out);
                write_key(key, style, out)?;
                out.push_str(&style.key_separator);
                write(item, style, depth + 1, out)?;
            }
            if !entries.is_empty() {
                new_line(style, depth, out);
            }
            out.push('}');
        }
        _ => return Err(fail(format!("Object of type {} is not JSON serializable", type_name(value)))),
    }
    Ok(())
}

fn json_float(f: f64) -> String {
    match f {
        f if f.is_nan() => "NaN".into(),
        f if f.is_infinite() => {
            if f > 0.0 {
                "Infinity".into()
            } else {
                "-Infinity".into()
            }
        }
        f => float_repr(f),
    }
}

fn write_key(key: &Value, style: &Style, out: &mut String) -> Result<(), Error> {
    let words = match key.kind() {
        ValueKind::String => to_str(key)?,
        ValueKind::None => "null".into(),
        ValueKind::Bool => {
            if key.is_true() {
                "true".into()
            } else {
                "false".into()
            }
        }
        ValueKind::Number => match number(key) {
            Some(Number::Float(f)) => json_float(f),
            _ => to_str(key)?,
        },
        _ => return Err(fail(format!("keys must be str, int, float, bool or None, not {}", type_name(key)))),
    };
    write_string(&words, style, out);
    Ok(())
}

fn write_string(raw: &str, style: &Style, out: &mut String) {
    out.push('"');
    out.push_str(&Text::parse(raw).map_parts(|part| escape(part, style.ensure_ascii)).raw());
    out.push('"');
}

fn escape(plain: &str, ensure_ascii: bool) -> String {
    let mut out = String::with_capacity(plain.len());
    for c in plain.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c if ensure_ascii && !c.is_ascii() => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c => out.push(c),
        }
    }
    out
}
