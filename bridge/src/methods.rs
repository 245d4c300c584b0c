//! The methods of Python's str, list and dict that a template may call. Those that change a value are refused, as by the sandbox.
use std::ops::Range;

use minijinja::value::{Tuple, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

use crate::printf::brace;
use crate::run::{check, check_size, enough_items, fail};
use crate::text::{capitalize, is_space, lines, plain, strip_range, swapcase, title, Text};
use crate::value::{dict, equal, iterate, list, pairs, text, type_name, Args};

pub fn call(_: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    check()?;
    if let Some(raw) = value.as_str() {
        return call_str(raw, name, args);
    }
    match value.kind() {
        ValueKind::Map => call_dict(value, name, args),
        ValueKind::Seq | ValueKind::Iterable => call_list(value, name, args),
        ValueKind::Undefined => {
            Err(Error::new(ErrorKind::UndefinedError, format!("an undefined value has no method {name}()")))
        }
        _ => Err(unknown(value, name)),
    }
}

fn unknown(value: &Value, name: &str) -> Error {
    Error::new(
        ErrorKind::UnknownMethod,
        format!("'{}' object has no method '{name}' that a template may call", type_name(value)),
    )
}

fn call_dict(value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let Some(entries) = pairs(value) else { return Err(unknown(value, name)) };
    match name {
        "keys" => list(entries.into_iter().map(|(key, _)| key).collect()),
        "values" => list(entries.into_iter().map(|(_, value)| value).collect()),
        "items" => list(entries.into_iter().map(|(key, value)| Value::from(Tuple::new(vec![key, value]))).collect()),
        "copy" => dict(entries),
        "get" => {
            let args = Args::new(args);
            let found = value.as_object().and_then(|object| object.get_value(args.positional.first()?));
            Ok(found.or_else(|| args.positional.get(1).cloned()).unwrap_or_else(|| Value::from(())))
        }
        _ => Err(unknown(value, name)),
    }
}

fn call_list(value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let items = iterate(value)?;
    let args = Args::new(args);
    match name {
        "index" => {
            for (at, item) in items.iter().enumerate() {
                if equal(item, args.need(0)?)? {
                    return Ok(Value::from(at));
                }
            }
            Err(fail("the value is not in the list"))
        }
        "count" => {
            let mut count = 0;
            for item in &items {
                count += usize::from(equal(item, args.need(0)?)?);
            }
            Ok(Value::from(count))
        }
        "copy" => list(items),
        _ => Err(unknown(value, name)),
    }
}

fn all(plain: &str, test: impl Fn(char) -> bool) -> Value {
    Value::from(!plain.is_empty() && plain.chars().all(test))
}

/// Cased letters there are, and each is of the one case.
fn one_case(plain: &str, good: fn(char) -> bool, bad: fn(char) -> bool) -> bool {
    plain.chars().any(good) && !plain.chars().any(bad)
}

pub fn is_upper(plain: &str) -> bool {
    one_case(plain, char::is_uppercase, char::is_lowercase)
}

pub fn is_lower(plain: &str) -> bool {
    one_case(plain, char::is_lowercase, char::is_uppercase)
}

fn call_str(raw: &str, name: &str, args: &[Value]) -> Result<Value, Error> {
    let (whole, given) = (Text::parse(raw), Args::new(args));
    let bare = &*whole.plain;
    let strip = |left, right| {
        let set = given.str(0, "chars")?;
        let set = set.as_deref().map(plain);
        Ok(text(&whole.slice(strip_range(bare, set.as_deref(), left, right))))
    };
    match name {
        "strip" => strip(true, true),
        "lstrip" => strip(true, false),
        "rstrip" => strip(false, true),
        "lower" => Ok(text(&whole.map_parts(str::to_lowercase))),
        "upper" => Ok(text(&whole.map_parts(str::to_uppercase))),
        "casefold" => Ok(text(&whole.map_parts(str::to_lowercase))),
        "title" => Ok(text(&whole.whole(title(bare)))),
        "capitalize" => Ok(text(&whole.whole(capitalize(bare)))),
        "swapcase" => Ok(text(&whole.map_parts(swapcase))),
        "startswith" => affix(bare, &given, |text, part| text.starts_with(part)),
        "endswith" => affix(bare, &given, |text, part| text.ends_with(part)),
        "removeprefix" => {
            let part = need_str(&given, 0)?;
            let cut = if bare.starts_with(&*part) { part.len() } else { 0 };
            Ok(text(&whole.slice(cut..bare.len())))
        }
        "removesuffix" => {
            let part = need_str(&given, 0)?;
            let cut = if bare.ends_with(&*part) { part.len() } else { 0 };
            Ok(text(&whole.slice(0..bare.len() - cut)))
        }
        "split" | "rsplit" => split(&whole, &given, name == "rsplit"),
        "splitlines" => pieces(&whole, lines(bare, given.flag(0, "keepends"))),
        "partition" | "rpartition" => partition(&whole, &need_str(&given, 0)?, name == "rpartition"),
        "replace" => {
            let (old, new) = (need_str(&given, 0)?, need_raw(&given, 1)?);
            replace(&whole, &old, &new, given.int(2, "count")?)
        }
        "join" => join(&whole, &iterate(given.need(0)?)?, false),
        "find" | "rfind" | "index" | "rindex" | "count" => search(bare, name, &given),
        "isdigit" | "isdecimal" | "isnumeric" => Ok(all(bare, |c| c.is_numeric())),
        "isalpha" => Ok(all(bare, char::is_alphabetic)),
        "isalnum" => Ok(all(bare, char::is_alphanumeric)),
        "isspace" => Ok(all(bare, is_space)),
        "isascii" => Ok(Value::from(bare.is_ascii())),
        "isupper" => Ok(Value::from(is_upper(bare))),
        "islower" => Ok(Value::from(is_lower(bare))),
        "istitle" => Ok(Value::from(bare.chars().any(char::is_alphabetic) && title(bare) == bare)),
        "zfill" | "ljust" | "rjust" | "center" => pad(&whole, name, &given),
        "format" => brace(raw, args),
        _ => Err(unknown(&Value::from(raw), name)),
    }
}

fn need_raw(args: &Args, at: usize) -> Result<String, Error> {
    let value = args.need(at)?;
    value
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| fail(format!("argument {} must be str, not {}", at + 1, type_name(value))))
}

fn need_str(args: &Args, at: usize) -> Result<String, Error> {
    Ok(plain(&need_raw(args, at)?).into_owned())
}

fn affix(bare: &str, args: &Args, test: fn(&str, &str) -> bool) -> Result<Value, Error> {
    let wanted = args.need(0)?;
    let parts = if wanted.is_tuple() { iterate(wanted)? } else { vec![wanted.clone()] };
    for part in &parts {
        let part = part.as_str().ok_or_else(|| fail("startswith and endswith take str or a tuple of str"))?;
        if test(bare, &plain(part)) {
            return Ok(Value::from(true));
        }
    }
    Ok(Value::from(false))
}

fn pieces(whole: &Text, ranges: Vec<Range<usize>>) -> Result<Value, Error> {
    check_size(ranges.len().checked_mul(std::mem::size_of::<Value>()))?;
    list(ranges.into_iter().map(|range| text(&whole.slice(range))).collect())
}

fn split(whole: &Text, args: &Args, from_right: bool) -> Result<Value, Error> {
    let most = args.int(1, "maxsplit")?.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
    let bare = &*whole.plain;
    let separator = args.str(0, "sep")?;
    let Some(separator) = separator.as_deref().map(plain) else {
        return pieces(whole, split_space(bare, most, from_right));
    };
    if separator.is_empty() {
        return Err(fail("empty separator"));
    }
    // One cut more than a list has room for is refused by pieces().
    let most = most.min(enough_items());
    let found: Vec<usize> = if from_right {
        bare.rmatch_indices(&*separator).take(most).map(|(at, _)| at).collect::<Vec<_>>().into_iter().rev().collect()
    } else {
        bare.match_indices(&*separator).take(most).map(|(at, _)| at).collect()
    };
    let mut ranges = Vec::with_capacity(found.len() + 1);
    let mut begin = 0;
    for at in found {
        ranges.push(begin..at);
        begin = at + separator.len();
    }
    ranges.push(begin..bare.len());
    pieces(whole, ranges)
}

/// Words between white space; at most `most` cuts, the rest stays one piece.
fn split_space(bare: &str, most: usize, from_right: bool) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut rest = strip_range(bare, None, !from_right, from_right);
    while !rest.is_empty() {
        let part = &bare[rest.clone()];
        let cut = if ranges.len() >= most {
            None
        } else if from_right {
            part.rfind(is_space)
        } else {
            part.find(is_space)
        };
        let Some(cut) = cut.map(|at| rest.start + at) else {
            ranges.push(rest);
            break;
        };
        if from_right {
            let after = cut + bare[cut..].chars().next().map_or(0, char::len_utf8);
            ranges.push(after..rest.end);
            rest = rest.start..bare[..cut].trim_end_matches(is_space).len();
        } else {
            ranges.push(rest.start..cut);
            rest = cut + strip_range(&bare[cut..rest.end], None, true, false).start..rest.end;
        }
    }
    if from_right {
        ranges.reverse();
    }
    ranges
}

fn partition(whole: &Text, separator: &str, from_right: bool) -> Result<Value, Error> {
    if separator.is_empty() {
        return Err(fail("empty separator"));
    }
    let bare = &*whole.plain;
    let end = bare.len();
    let found = if from_right { bare.rfind(separator) } else { bare.find(separator) };
    let ranges = match found {
        Some(at) => [0..at, at..at + separator.len(), at + separator.len()..end],
        None if from_right => [0..0, 0..0, 0..end],
        None => [0..end, end..end, end..end],
    };
    Ok(Value::from(Tuple::new(ranges.into_iter().map(|range| text(&whole.slice(range))).collect())))
}

pub fn replace(whole: &Text, old: &str, new: &str, count: Option<i64>) -> Result<Value, Error> {
    let most = count.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
    let bare = &*whole.plain;
    let new = Text::parse(new);
    let count = bare.matches(old).take(most).count();
    check_size(count.checked_mul(new.plain.len()).and_then(|n| n.checked_add(bare.len())))?;
    let mut result = Text::default();
    let mut begin = 0;
    for (at, _) in bare.match_indices(old).take(most) {
        result.append(&whole.slice(begin..at));
        result.append(&new);
        begin = at + old.len();
    }
    result.append(&whole.slice(begin..bare.len()));
    Ok(text(&result))
}

/// str.join; with `any`, other values are written as str() does, as the filter has it.
pub fn join(separator: &Text, items: &[Value], any: bool) -> Result<Value, Error> {
    let mut result = Text::default();
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            result.append(separator);
        }
        if item.as_str().is_none() && !any {
            return Err(fail(format!("sequence item {at}: expected str instance, {} found", type_name(item))));
        }
        result.append(&Text::parse(&crate::value::to_str(item)?));
        check_size(Some(result.plain.len()))?;
    }
    Ok(text(&result))
}

fn search(bare: &str, name: &str, args: &Args) -> Result<Value, Error> {
    let part = need_str(args, 0)?;
    if args.positional.len() > 1 {
        return Err(fail(format!("{name}() with a start is not supported")));
    }
    if name == "count" {
        let count = if part.is_empty() { bare.chars().count() + 1 } else { bare.matches(&*part).count() };
        return Ok(Value::from(count));
    }
    let found = if name.starts_with('r') { bare.rfind(&*part) } else { bare.find(&*part) };
    match found {
        Some(at) => Ok(Value::from(bare[..at].chars().count())),
        None if name.ends_with("index") => Err(fail("substring not found")),
        None => Ok(Value::from(-1)),
    }
}

fn pad(whole: &Text, name: &str, args: &Args) -> Result<Value, Error> {
    let width = args.int(0, "width")?.ok_or_else(|| fail(format!("{name}() takes a width")))?;
    let width = usize::try_from(width).unwrap_or(0);
    check_size(Some(width))?;
    let fill = args.str(1, "fillchar")?.map_or_else(|| " ".to_owned(), |raw| plain(&raw).into_owned());
    if fill.chars().count() != 1 {
        return Err(fail("the fill character must be exactly one character long"));
    }
    let missing = width.saturating_sub(whole.plain.chars().count());
    let (left, right) = match name {
        "ljust" => (0, missing),
        "center" => (missing / 2 + (missing & width & 1), missing - missing / 2 - (missing & width & 1)),
        _ => (missing, 0),
    };
    if name == "zfill" {
        let sign = if whole.plain.starts_with(['+', '-']) { 1 } else { 0 };
        let filled = format!("{}{}{}", &whole.plain[..sign], "0".repeat(missing), &whole.plain[sign..]);
        return Ok(text(&whole.whole(filled)));
    }
    let mut result = Text::default();
    result.push(&fill.repeat(left), false);
    result.append(whole);
    result.push(&fill.repeat(right), false);
    Ok(text(&result))
}
