//! Python's two ways to fill a text: "%s" % values and "{}".format(values).
use minijinja::{Error, Value};

use crate::run::{check_size, fail};
use crate::text::Text;
use crate::value::{float_repr, item, number, text, to_repr, to_str, type_name, Args, Number};

struct Spec {
    minus: bool,
    plus: bool,
    space: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
}

/// Widths and precisions beyond this are refused: nobody formats a prompt with them.
const MAX_WIDTH: usize = 1000;

pub fn percent(raw: &str, values: &Value) -> Result<Value, Error> {
    let format = Text::parse(raw);
    let tuple = values.is_tuple();
    let mut next = 0;
    let take = |next: &mut usize| {
        let value = if tuple { item(values, &Value::from(*next))? } else { values.clone() };
        *next += 1;
        if tuple && value.is_undefined() || !tuple && *next > 1 {
            return Err(fail("not enough arguments for format string"));
        }
        Ok(value)
    };
    let mut result = Text::default();
    let mut at = 0;
    while let Some(found) = format.plain[at..].find('%') {
        result.append(&format.slice(at..at + found));
        at += found + 1;
        let mut named = None;
        if format.plain[at..].starts_with('(') {
            let end = format.plain[at..].find(')').ok_or_else(|| fail("incomplete format key"))?;
            named = Some(format.plain[at + 1..at + end].to_owned());
            at += end + 1;
        }
        let (spec, length) = read_spec(&format.plain[at..])?;
        at += length;
        let kind = format.plain[at..].chars().next().ok_or_else(|| fail("incomplete format"))?;
        at += kind.len_utf8();
        if kind == '%' {
            result.push("%", false);
            continue;
        }
        let value = match named {
            Some(key) => {
                let value = item(values, &Value::from(key.as_str()))?;
                if value.is_undefined() {
                    return Err(fail(format!("format key '{key}' is missing")));
                }
                next = 1;
                value
            }
            None => take(&mut next)?,
        };
        let words = convert(&value, kind, &spec)?;
        result.append(&Text::parse(&words));
        check_size(Some(result.plain.len()))?;
    }
    result.append(&format.slice(at..format.plain.len()));
    let given = if tuple { values.len().unwrap_or(0) } else { usize::from(crate::value::pairs(values).is_none()) };
    if next < given {
        return Err(fail("not all arguments converted during string formatting"));
    }
    Ok(text(&result))
}

fn read_spec(format: &str) -> Result<(Spec, usize), Error> {
    let bytes = format.as_bytes();
    let mut spec = Spec { minus: false, plus: false, space: false, zero: false, width: 0, precision: None };
    let mut at = 0;
    while let Some(flag) = bytes.get(at) {
        match flag {
            b'-' => spec.minus = true,
            b'+' => spec.plus = true,
            b' ' => spec.space = true,
            b'0' => spec.zero = true,
            b'#' => {}
            _ => break,
        }
        at += 1;
    }
    let read_number = |at: &mut usize| {
        let mut n = 0usize;
        while let Some(digit @ b'0'..=b'9') = bytes.get(*at) {
            n = (n * 10 + (digit - b'0') as usize).min(MAX_WIDTH + 1);
            *at += 1;
        }
        if n > MAX_WIDTH {
            Err(fail("a format's width is too large"))
        } else {
            Ok(n)
        }
    };
    spec.width = read_number(&mut at)?;
    if bytes.get(at) == Some(&b'.') {
        at += 1;
        spec.precision = Some(read_number(&mut at)?);
    }
    Ok((spec, at))
}

fn convert(value: &Value, kind: char, spec: &Spec) -> Result<String, Error> {
    let signed = |negative: bool, digits: String| {
        let sign = if negative {
            "-"
        } else if spec.plus {
            "+"
        } else if spec.space {
            " "
        } else {
            ""
        };
        let missing = spec.width.saturating_sub(sign.len() + digits.len());
        if spec.zero && !spec.minus {
            format!("{sign}{}{digits}", "0".repeat(missing))
        } else {
            format!("{sign}{digits}")
        }
    };
    let words = match kind {
        's' | 'r' => {
            let raw = if kind == 's' { to_str(value)? } else { to_repr(value)? };
            match spec.precision {
                Some(count) => {
                    let whole = Text::parse(&raw);
                    let end = whole.plain.char_indices().nth(count).map_or(whole.plain.len(), |(at, _)| at);
                    whole.slice(0..end).raw()
                }
                None => raw,
            }
        }
        'd' | 'i' | 'u' | 'x' | 'X' | 'o' => {
            let n = match number(value) {
                Some(Number::Int(n)) => n,
                Some(Number::Float(f)) if matches!(kind, 'd' | 'i' | 'u') && f.is_finite() => f.trunc() as i128,
                _ => return Err(fail(format!("%{kind} format: a number is required, not {}", type_name(value)))),
            };
            let size = n.unsigned_abs();
            signed(
                n < 0,
                match kind {
                    'x' => format!("{size:x}"),
                    'X' => format!("{size:X}"),
                    'o' => format!("{size:o}"),
                    _ => size.to_string(),
                },
            )
        }
        'f' | 'F' => {
            let f = match number(value) {
                Some(Number::Int(n)) => n as f64,
                Some(Number::Float(f)) => f,
                None => return Err(fail(format!("must be real number, not {}", type_name(value)))),
            };
            signed(
                f.is_sign_negative(),
                if f.is_finite() {
                    format!("{:.*}", spec.precision.unwrap_or(6), f.abs())
                } else {
                    float_repr(f.abs())
                },
            )
        }
        _ => return Err(fail(format!("unsupported format character '{kind}'"))),
    };
    let missing = spec.width.saturating_sub(Text::parse(&words).plain.chars().count());
    Ok(if spec.minus { words + &" ".repeat(missing) } else { " ".repeat(missing) + &words })
}

/// str.format() with plain fields: {}, {0}, {name}, {0[key]}, {name.key}; no format specification.
pub fn brace(raw: &str, all: &[Value]) -> Result<Value, Error> {
    let (format, args) = (Text::parse(raw), Args::new(all));
    let mut result = Text::default();
    let (mut at, mut next) = (0, 0);
    while let Some(found) = format.plain[at..].find(['{', '}']) {
        result.append(&format.slice(at..at + found));
        let brace = &format.plain[at + found..at + found + 1];
        at += found + 1;
        if format.plain[at..].starts_with(brace) {
            result.push(brace, false);
            at += 1;
            continue;
        }
        let end = format.plain[at..]
            .find('}')
            .filter(|_| brace == "{")
            .ok_or_else(|| fail("single brace in format string"))?;
        let value = field(&format.plain[at..at + end], &args, &mut next)?;
        result.append(&Text::parse(&value));
        check_size(Some(result.plain.len()))?;
        at += end + 1;
    }
    result.append(&format.slice(at..format.plain.len()));
    Ok(text(&result))
}

fn field(field: &str, args: &Args, next: &mut usize) -> Result<String, Error> {
    if field.contains([':', '{']) {
        return Err(fail("format specifications are not supported in str.format()"));
    }
    let (field, repr) = match field.split_once('!') {
        Some((field, "r")) => (field, true),
        Some((field, "s")) => (field, false),
        Some(_) => return Err(fail("unsupported conversion in str.format()")),
        None => (field, false),
    };
    let end = field.find(['.', '[']).unwrap_or(field.len());
    let (name, mut path) = field.split_at(end);
    let mut value = if name.is_empty() {
        *next += 1;
        args.positional.get(*next - 1).cloned()
    } else {
        match name.parse::<usize>() {
            Ok(index) => args.positional.get(index).cloned(),
            Err(_) => args.get(usize::MAX, name),
        }
    }
    .ok_or_else(|| fail("a replacement field of str.format() has no value"))?;
    while !path.is_empty() {
        let (key, rest) = if let Some(inner) = path.strip_prefix('[') {
            inner.split_once(']').ok_or_else(|| fail("missing ']' in format string"))?
        } else {
            let inner = &path[1..];
            inner.split_at(inner.find(['.', '[']).unwrap_or(inner.len()))
        };
        let key = key.parse::<i64>().map_or_else(|_| Value::from(key), Value::from);
        value = item(&value, &key)?;
        path = rest;
    }
    if repr {
        to_repr(&value)
    } else {
        to_str(&value)
    }
}
