//! The operators and functions of a template, with Python's meaning, on text that knows where it came from.
use std::cmp::Ordering;
use std::sync::Arc;

use minijinja::value::{Enumerator, Object, ObjectRepr, Tuple, ValueKind};
use minijinja::{Environment, Error, State, Value};

use crate::printf::percent;
use crate::run::{check, check_size, clock, fail, limit, raised};
use crate::text::{plain, Text};
use crate::value::{
    compare, contains, dict, equal, from_int, item, iterate, list, number, pairs, settle, slice, string, text, to_str,
    type_name, Args, Function, Native, Number,
};

/// Names under which rewrite.rs calls the operators. None can be a name in a template.
pub const ADD: &str = "+";
pub const MULTIPLY: &str = "*";
pub const REMAINDER: &str = "%";
pub const JOIN: &str = "~";
pub const COMPARE: &str = "<=>";
pub const ITEM: &str = "[]";
pub const SLICE: &str = "[:]";
pub const LIST: &str = "[,]";
pub const DICT: &str = "{}";
pub const ITERATE: &str = "for ";
pub const KEEP: &str = "=";

const FUNCTIONS: [(&str, Native); 15] = [
    (ADD, add),
    (MULTIPLY, multiply),
    (REMAINDER, remainder),
    (JOIN, join),
    (COMPARE, chain),
    (ITEM, |_, args| item(&args[0], &args[1])),
    (SLICE, |_, args| slice(&args[0], &args[1], &args[2], &args[3])),
    (LIST, |_, args| list(args.iter().map(|v| settle(v, true)).collect::<Result<_, _>>()?)),
    (DICT, make_dict),
    (ITERATE, |_, args| Ok(Value::from_object(Items(iterate(&args[0])?)))),
    (KEEP, |_, args| settle(&args[0], false)),
    ("range", range),
    ("dict", dict_function),
    ("raise_exception", raise_exception),
    ("strftime_now", strftime_now),
];

pub fn install(environment: &mut Environment) {
    environment.remove_global("debug");
    for (name, function) in FUNCTIONS {
        environment.add_global(name, Value::from_object(Function(function)));
    }
}

/// What a for loop walks over: every step looks at the limits.
#[derive(Debug)]
struct Items(Vec<Value>);

impl Object for Items {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let value = self.0.get(key.as_usize()?)?;
        Some(check().map_or_else(Value::from, |()| value.clone()))
    }
    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.0.len())
    }
}

fn unsupported(op: &str, a: &Value, b: &Value) -> Error {
    fail(format!("unsupported operand types for {op}: '{}' and '{}'", type_name(a), type_name(b)))
}

fn concat(a: &str, b: &str) -> Result<Value, Error> {
    check_size(a.len().checked_add(b.len()))?;
    Ok(string([a, b].concat()))
}

fn add(_: &mut State, args: &[Value]) -> Result<Value, Error> {
    let mut sum = args[0].clone();
    for next in &args[1..] {
        sum = add_two(&sum, next)?;
    }
    Ok(sum)
}

pub fn add_two(a: &Value, b: &Value) -> Result<Value, Error> {
    if let (Some(a), Some(b)) = (a.as_str(), b.as_str()) {
        return concat(a, b);
    }
    if let (Some(x), Some(y)) = (number(a), number(b)) {
        return match (x, y) {
            (Number::Int(x), Number::Int(y)) => from_int(x.checked_add(y).ok_or_else(|| unsupported("+", a, b))?),
            (x, y) => Ok(Value::from(as_float(x) + as_float(y))),
        };
    }
    let sequence = |v: &Value| matches!(v.kind(), ValueKind::Seq | ValueKind::Iterable);
    if sequence(a) && sequence(b) && a.is_tuple() == b.is_tuple() {
        let mut items = iterate(a)?;
        items.extend(iterate(b)?);
        return if a.is_tuple() { Ok(Value::from(Tuple::new(items))) } else { list(items) };
    }
    Err(unsupported("+", a, b))
}

fn as_float(n: Number) -> f64 {
    match n {
        Number::Int(n) => n as f64,
        Number::Float(f) => f,
    }
}

fn multiply(_: &mut State, args: &[Value]) -> Result<Value, Error> {
    let (a, b) = (&args[0], &args[1]);
    match (number(a), number(b)) {
        (Some(Number::Int(x)), Some(Number::Int(y))) => {
            from_int(x.checked_mul(y).ok_or_else(|| unsupported("*", a, b))?)
        }
        (Some(x), Some(y)) => Ok(Value::from(as_float(x) * as_float(y))),
        (None, Some(Number::Int(times))) => repeat(a, times).unwrap_or_else(|| Err(unsupported("*", a, b))),
        (Some(Number::Int(times)), None) => repeat(b, times).unwrap_or_else(|| Err(unsupported("*", a, b))),
        _ => Err(unsupported("*", a, b)),
    }
}

fn repeat(value: &Value, times: i128) -> Option<Result<Value, Error>> {
    let times = usize::try_from(times.max(0)).unwrap_or(usize::MAX);
    if let Some(raw) = value.as_str() {
        return Some(check_size(raw.len().checked_mul(times)).map(|()| string(raw.repeat(times))));
    }
    if !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
        return None;
    }
    let made = iterate(value).and_then(|items| {
        let bytes = items.len().checked_mul(times).and_then(|n| n.checked_mul(std::mem::size_of::<Value>()));
        check_size(bytes)?;
        let many: Vec<Value> =
            if items.is_empty() { items } else { items.iter().cycle().take(items.len() * times).cloned().collect() };
        if value.is_tuple() {
            Ok(Value::from(Tuple::new(many)))
        } else {
            list(many)
        }
    });
    Some(made)
}

fn remainder(_: &mut State, args: &[Value]) -> Result<Value, Error> {
    let (a, b) = (&args[0], &args[1]);
    if let Some(raw) = a.as_str() {
        return percent(raw, b);
    }
    match (number(a), number(b)) {
        (Some(_), Some(Number::Int(0))) => Err(fail("division by zero")),
        (Some(Number::Int(x)), Some(Number::Int(y))) => {
            let rest = x.checked_rem(y).unwrap_or(0);
            from_int(if rest != 0 && (rest < 0) != (y < 0) { rest + y } else { rest })
        }
        (Some(x), Some(y)) => {
            let (x, y) = (as_float(x), as_float(y));
            if y == 0.0 {
                return Err(fail("division by zero"));
            }
            let rest = x % y;
            Ok(Value::from(if rest != 0.0 && (rest < 0.0) != (y < 0.0) { rest + y } else { rest }))
        }
        _ => Err(unsupported("%", a, b)),
    }
}

fn join(_: &mut State, args: &[Value]) -> Result<Value, Error> {
    let mut joined = String::new();
    for value in args {
        let words = to_str(value)?;
        check_size(joined.len().checked_add(words.len()))?;
        joined.push_str(&words);
    }
    Ok(string(joined))
}

/// a < b <= c ...: values at even places, operators between them.
fn chain(_: &mut State, args: &[Value]) -> Result<Value, Error> {
    for at in (0..args.len() - 1).step_by(2) {
        if !holds(args[at + 1].as_str().unwrap_or_default(), &args[at], &args[at + 2])? {
            return Ok(Value::from(false));
        }
    }
    Ok(Value::from(true))
}

pub fn holds(operator: &str, a: &Value, b: &Value) -> Result<bool, Error> {
    match operator {
        "==" => equal(a, b),
        "!=" => Ok(!equal(a, b)?),
        "in" => contains(b, a),
        "not in" => Ok(!contains(b, a)?),
        "<" => Ok(compare(a, b)? == Ordering::Less),
        "<=" => Ok(compare(a, b)? != Ordering::Greater),
        ">" => Ok(compare(a, b)? == Ordering::Greater),
        _ => Ok(compare(a, b)? != Ordering::Less),
    }
}

fn make_dict(_: &mut State, args: &[Value]) -> Result<Value, Error> {
    let mut entries = Vec::with_capacity(args.len() / 2);
    for pair in args.chunks_exact(2) {
        entries.push((settle(&pair[0], true)?, settle(&pair[1], true)?));
    }
    dict(entries)
}

fn dict_function(_: &mut State, args: &[Value]) -> Result<Value, Error> {
    let args = Args::new(args);
    let mut entries = match args.positional {
        [] => Vec::new(),
        [one] => match pairs(one) {
            Some(entries) => entries,
            None => iterate(one)?
                .iter()
                .map(|pair| Ok((item(pair, &Value::from(0))?, item(pair, &Value::from(1))?)))
                .collect::<Result<_, Error>>()?,
        },
        _ => return Err(fail("dict expected at most 1 argument")),
    };
    entries.extend(args.named());
    dict(entries.into_iter().map(|(k, v)| Ok((k, settle(&v, true)?))).collect::<Result<Vec<_>, Error>>()?)
}

/// The sandbox's bound on range().
const MAX_RANGE: i128 = 100_000;

fn range(_: &mut State, args: &[Value]) -> Result<Value, Error> {
    let args = Args::new(args);
    let bound = |at: usize| match args.positional.get(at).map(number) {
        None => Ok(None),
        Some(Some(Number::Int(n))) => Ok(Some(n)),
        Some(_) => Err(fail("range() takes integers")),
    };
    let (start, stop, step) = match (bound(0)?, bound(1)?, bound(2)?) {
        (Some(stop), None, None) => (0, stop, 1),
        (Some(start), Some(stop), step) => (start, stop, step.unwrap_or(1)),
        _ => return Err(fail("range() takes one to three arguments")),
    };
    if step == 0 {
        return Err(fail("range() arg 3 must not be zero"));
    }
    let span = if step > 0 { stop - start } else { start - stop };
    let count = if span <= 0 { 0 } else { (span - 1) / step.abs() + 1 };
    if count > MAX_RANGE {
        return Err(limit(format!("range() is too big: {count} items, at most {MAX_RANGE} are allowed")));
    }
    list((0..count).map(|i| from_int(start + i * step)).collect::<Result<_, _>>()?)
}

fn raise_exception(_: &mut State, args: &[Value]) -> Result<Value, Error> {
    let message = to_str(args.first().unwrap_or(&Value::UNDEFINED))?;
    Err(raised(plain(&message).into_owned()))
}

fn strftime_now(_: &mut State, args: &[Value]) -> Result<Value, Error> {
    let format = args.first().and_then(|v| v.as_str()).ok_or_else(|| fail("strftime_now() takes a format"))?;
    let format = Text::parse(format);
    let (Some(clock), user) = clock() else {
        return Err(fail("strftime_now() has no clock here"));
    };
    if format.plain.len() > 256 || format.plain.contains('\0') {
        return Err(limit("the format of strftime_now() is too long".into()));
    }
    let mut buffer = [0u8; 4096];
    // SAFETY: the callback writes at most buffer.len() bytes and keeps nothing.
    let written = unsafe { clock(user, format.plain.as_ptr(), format.plain.len(), buffer.as_mut_ptr(), buffer.len()) };
    let date = String::from_utf8_lossy(&buffer[..written.min(buffer.len())]).into_owned();
    Ok(text(&format.whole(date)))
}
