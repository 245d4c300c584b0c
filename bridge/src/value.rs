//! Python's lists, dictionaries, equality, order, str() and repr() on the engine's values.
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use minijinja::value::{Enumerator, Object, ObjectRepr, Tuple, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

use crate::run::{check, check_size, fail};
use crate::text::{plain, Text};

/// Lists in lists in lists: dropping, comparing and printing one recurses, so there is a bound.
pub const MAX_DEPTH: usize = 200;

/// A list; immutable, as the sandbox demands.
#[derive(Debug)]
pub struct List {
    pub items: Vec<Value>,
    depth: usize,
}

/// A dictionary in the order in which it was written. Keys are found without their marks and shown with them.
#[derive(Debug)]
pub struct Dict {
    pub keys: Vec<Value>,
    pub values: Vec<Value>,
    index: BTreeMap<Value, usize>,
    depth: usize,
}

impl Object for List {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.items.get(key.as_usize()?).cloned()
    }
    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.items.len())
    }
    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.items.len())
    }
}

impl Object for Dict {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let at = match key.as_str() {
            Some(raw) => self.index.get(&Value::from(&*plain(raw))),
            None if key.kind() == ValueKind::Bool => self.index.get(&Value::from(i64::from(key.is_true()))),
            None => self.index.get(key),
        };
        at.map(|at| self.values[*at].clone())
    }
    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.keys.clone())
    }
    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.keys.len())
    }
}

fn depth_of(value: &Value) -> Result<usize, Error> {
    if value.as_object().is_none() {
        return Ok(0);
    }
    if let Some(list) = value.downcast_object_ref::<List>() {
        return Ok(list.depth);
    }
    if let Some(dict) = value.downcast_object_ref::<Dict>() {
        return Ok(dict.depth);
    }
    if let Some(tuple) = value.downcast_object_ref::<Tuple>() {
        return deepest(tuple.iter());
    }
    Ok(0)
}

fn deepest<'a>(values: impl Iterator<Item = &'a Value>) -> Result<usize, Error> {
    let mut depth = 0;
    for value in values {
        depth = depth.max(depth_of(value)?);
    }
    if depth >= MAX_DEPTH {
        return Err(fail(format!("lists and dictionaries are nested deeper than {MAX_DEPTH}")));
    }
    Ok(depth + 1)
}

/// Makes `value` one that may be kept: lists and dictionaries are ours, nothing holds a namespace (which could then hold itself).
pub fn settle(value: &Value, inside: bool) -> Result<Value, Error> {
    settle_to(value, inside, 0)
}

fn settle_to(value: &Value, inside: bool, depth: usize) -> Result<Value, Error> {
    let Some(object) = value.as_object() else {
        return Ok(value.clone());
    };
    if depth > MAX_DEPTH {
        return Err(fail(format!("lists and dictionaries are nested deeper than {MAX_DEPTH}")));
    }
    if object.downcast_ref::<List>().is_some() || object.downcast_ref::<Dict>().is_some() {
        return Ok(value.clone());
    }
    if let Some(tuple) = object.downcast_ref::<Tuple>() {
        let items = tuple.iter().map(|item| settle_to(item, true, depth + 1)).collect::<Result<Vec<_>, _>>()?;
        deepest(items.iter())?;
        return Ok(Value::from(Tuple::new(items)));
    }
    if object.type_name().ends_with("Namespace") {
        return if inside { Err(fail("a namespace cannot be kept inside another value")) } else { Ok(value.clone()) };
    }
    match object.repr() {
        ObjectRepr::Seq | ObjectRepr::Iterable => {
            let items = iterate(value)?;
            let items = items.iter().map(|item| settle_to(item, true, depth + 1)).collect::<Result<Vec<_>, _>>()?;
            list(items)
        }
        _ => Ok(value.clone()),
    }
}

pub fn list(mut items: Vec<Value>) -> Result<Value, Error> {
    check_size(items.len().checked_mul(std::mem::size_of::<Value>()))?;
    for item in items.iter_mut().filter(|item| is_foreign_list(item)) {
        *item = settle(item, true)?;
    }
    let depth = deepest(items.iter())?;
    Ok(Value::from_object(List { items, depth }))
}

/// A sequence that the engine made, whose depth nobody has counted.
fn is_foreign_list(value: &Value) -> bool {
    value.as_object().is_some_and(|object| {
        matches!(object.repr(), ObjectRepr::Seq | ObjectRepr::Iterable) && object.downcast_ref::<List>().is_none()
    })
}

pub fn dict(pairs: impl IntoIterator<Item = (Value, Value)>) -> Result<Value, Error> {
    let mut made = Dict { keys: Vec::new(), values: Vec::new(), index: BTreeMap::new(), depth: 0 };
    for (key, value) in pairs {
        let bare = match key.as_str() {
            Some(raw) => Value::from(&*plain(raw)),
            None if key.kind() == ValueKind::Bool => Value::from(i64::from(key.is_true())),
            None if key.as_object().is_some() && key.downcast_object_ref::<Tuple>().is_none() => {
                return Err(fail("unhashable dictionary key"));
            }
            None => key.clone(),
        };
        match made.index.get(&bare) {
            Some(at) => made.values[*at] = value,
            None => {
                made.index.insert(bare, made.keys.len());
                made.keys.push(key);
                made.values.push(value);
            }
        }
    }
    check()?;
    made.depth = deepest(made.values.iter())?;
    Ok(Value::from_object(made))
}

pub fn string(raw: String) -> Value {
    Value::from(raw)
}

pub fn text(value: &Text) -> Value {
    Value::from(value.raw())
}

/// The items that Python's iteration gives: characters of a string, keys of a dictionary.
pub fn iterate(value: &Value) -> Result<Vec<Value>, Error> {
    check()?;
    if let Some(list) = value.downcast_object_ref::<List>() {
        return Ok(list.items.clone());
    }
    if let Some(raw) = value.as_str() {
        let whole = Text::parse(raw);
        check_size(whole.plain.len().checked_mul(std::mem::size_of::<Value>()))?;
        return Ok(whole.plain.char_indices().map(|(at, c)| text(&whole.slice(at..at + c.len_utf8()))).collect());
    }
    if value.is_undefined() {
        return Ok(Vec::new());
    }
    if value.is_none() {
        return Err(fail("'NoneType' object is not iterable"));
    }
    let mut items = Vec::new();
    for item in value.try_iter()?.checked() {
        items.push(item?);
        if items.len() % 1024 == 0 {
            check_size(items.len().checked_mul(std::mem::size_of::<Value>()))?;
        }
    }
    Ok(items)
}

pub fn pairs(value: &Value) -> Option<Vec<(Value, Value)>> {
    if let Some(dict) = value.downcast_object_ref::<Dict>() {
        return Some(dict.keys.iter().cloned().zip(dict.values.iter().cloned()).collect());
    }
    let object = value.as_object().filter(|o| o.repr() == ObjectRepr::Map)?;
    Some(object.try_iter_pairs()?.collect())
}

pub fn type_name(value: &Value) -> &'static str {
    match value.kind() {
        ValueKind::Undefined => "Undefined",
        ValueKind::None => "NoneType",
        ValueKind::Bool => "bool",
        ValueKind::Number if value.is_integer() => "int",
        ValueKind::Number => "float",
        ValueKind::String => "str",
        ValueKind::Seq if value.is_tuple() => "tuple",
        ValueKind::Seq | ValueKind::Iterable => "list",
        ValueKind::Map => "dict",
        _ => "object",
    }
}

#[derive(Clone, Copy)]
pub enum Number {
    Int(i128),
    Float(f64),
}

pub fn number(value: &Value) -> Option<Number> {
    match value.kind() {
        ValueKind::Bool => Some(Number::Int(value.is_true() as i128)),
        ValueKind::Number if value.is_integer() => i128::try_from(value.clone()).ok().map(Number::Int),
        ValueKind::Number => f64::try_from(value.clone()).ok().map(Number::Float),
        _ => None,
    }
}

pub fn integer(value: &Value) -> Option<i64> {
    match number(value)? {
        Number::Int(n) => i64::try_from(n).ok(),
        Number::Float(_) => None,
    }
}

pub fn from_int(n: i128) -> Result<Value, Error> {
    i64::try_from(n).map(Value::from).map_err(|_| fail("an integer is out of the 64-bit range"))
}

fn is_list(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) && !value.is_tuple()
}

pub fn equal(a: &Value, b: &Value) -> Result<bool, Error> {
    if let (Some(a), Some(b)) = (a.as_str(), b.as_str()) {
        return Ok(plain(a) == plain(b));
    }
    if let (Some(a), Some(b)) = (number(a), number(b)) {
        return Ok(match (a, b) {
            (Number::Int(a), Number::Int(b)) => a == b,
            (Number::Int(a), Number::Float(b)) | (Number::Float(b), Number::Int(a)) => a as f64 == b,
            (Number::Float(a), Number::Float(b)) => a == b,
        });
    }
    if (is_list(a) && is_list(b)) || (a.is_tuple() && b.is_tuple()) {
        let (a, b) = (iterate(a)?, iterate(b)?);
        if a.len() != b.len() {
            return Ok(false);
        }
        for (a, b) in a.iter().zip(&b) {
            if !equal(a, b)? {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    if let (Some(left), Some(right)) = (pairs(a), pairs(b)) {
        if left.len() != right.len() {
            return Ok(false);
        }
        for (key, value) in left {
            match b.get_item(&key) {
                Ok(other) if equal(&value, &other)? => {}
                _ => return Ok(false),
            }
        }
        return Ok(true);
    }
    if a.is_undefined() || b.is_undefined() || a.is_none() || b.is_none() {
        return Ok(a.kind() == b.kind());
    }
    Ok(a.kind() == b.kind() && a == b)
}

pub fn compare(a: &Value, b: &Value) -> Result<Ordering, Error> {
    if let (Some(a), Some(b)) = (a.as_str(), b.as_str()) {
        return Ok(plain(a).cmp(&plain(b)));
    }
    if let (Some(a), Some(b)) = (number(a), number(b)) {
        let order = match (a, b) {
            (Number::Int(a), Number::Int(b)) => Some(a.cmp(&b)),
            (Number::Int(a), Number::Float(b)) => (a as f64).partial_cmp(&b),
            (Number::Float(a), Number::Int(b)) => a.partial_cmp(&(b as f64)),
            (Number::Float(a), Number::Float(b)) => a.partial_cmp(&b),
        };
        return order.ok_or_else(|| fail("NaN has no order"));
    }
    if (is_list(a) && is_list(b)) || (a.is_tuple() && b.is_tuple()) {
        let (a, b) = (iterate(a)?, iterate(b)?);
        for (a, b) in a.iter().zip(&b) {
            if !equal(a, b)? {
                return compare(a, b);
            }
        }
        return Ok(a.len().cmp(&b.len()));
    }
    Err(fail(format!("'<' not supported between instances of '{}' and '{}'", type_name(a), type_name(b))))
}

pub fn contains(container: &Value, item: &Value) -> Result<bool, Error> {
    if let Some(raw) = container.as_str() {
        let Some(part) = item.as_str() else {
            return Err(fail(format!("'in <string>' requires string as left operand, not {}", type_name(item))));
        };
        return Ok(plain(raw).contains(&*plain(part)));
    }
    if container.is_undefined() {
        return Ok(false);
    }
    if container.kind() == ValueKind::Map {
        let bare = item.as_str().map_or_else(|| item.clone(), |raw| Value::from(&*plain(raw)));
        return Ok(container.as_object().is_some_and(|object| object.get_value(&bare).is_some()));
    }
    if !matches!(container.kind(), ValueKind::Seq | ValueKind::Iterable) {
        return Err(fail(format!("argument of type '{}' is not iterable", type_name(container))));
    }
    for other in iterate(container)? {
        if equal(&other, item)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Python's repr() of a float: the shortest digits that give it back.
pub fn float_repr(value: f64) -> String {
    if value.is_nan() {
        return "nan".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf".into() } else { "-inf".into() };
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let fixed = format!("{value}");
        return if fixed.contains('.') { fixed } else { fixed + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

fn printable(c: char) -> bool {
    !(c.is_control()
        || (is_separator(c) && c != ' ')
        || matches!(c, '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{e000}'..='\u{f8ff}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{fffe}' | '\u{ffff}' | '\u{e0000}'..='\u{10ffff}'))
}

fn is_separator(c: char) -> bool {
    matches!(
        c,
        ' ' | '\u{a0}' | '\u{1680}' | '\u{2000}'
            ..='\u{200a}' | '\u{2028}' | '\u{2029}' | '\u{202f}' | '\u{205f}' | '\u{3000}'
    )
}

fn str_repr(plain: &str) -> String {
    let quote = if plain.contains('\'') && !plain.contains('"') { '"' } else { '\'' };
    let mut repr = String::with_capacity(plain.len() + 2);
    repr.push(quote);
    for c in plain.chars() {
        match c {
            '\\' => repr.push_str("\\\\"),
            '\n' => repr.push_str("\\n"),
            '\r' => repr.push_str("\\r"),
            '\t' => repr.push_str("\\t"),
            c if c == quote => repr.extend(['\\', c]),
            c if printable(c) => repr.push(c),
            c if (c as u32) < 0x100 => repr.push_str(&format!("\\x{:02x}", c as u32)),
            c if (c as u32) < 0x10000 => repr.push_str(&format!("\\u{:04x}", c as u32)),
            c => repr.push_str(&format!("\\U{:08x}", c as u32)),
        }
    }
    repr.push(quote);
    repr
}

/// Python's str(), marks kept.
pub fn to_str(value: &Value) -> Result<String, Error> {
    match value.as_str() {
        Some(raw) => Ok(raw.to_owned()),
        None => {
            let mut out = String::new();
            write_repr(value, &mut out, true)?;
            Ok(out)
        }
    }
}

pub fn to_repr(value: &Value) -> Result<String, Error> {
    let mut out = String::new();
    write_repr(value, &mut out, false)?;
    Ok(out)
}

fn write_repr(value: &Value, out: &mut String, outermost: bool) -> Result<(), Error> {
    check_size(Some(out.len()))?;
    match value.kind() {
        ValueKind::Undefined if outermost => {}
        ValueKind::Undefined => out.push_str("Undefined"),
        ValueKind::None => out.push_str("None"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number => match number(value) {
            Some(Number::Float(f)) => out.push_str(&float_repr(f)),
            Some(Number::Int(n)) => out.push_str(&n.to_string()),
            None => return Err(fail("a number is out of range")),
        },
        ValueKind::String | ValueKind::Bytes => {
            let whole = Text::parse(value.as_str().unwrap_or_default());
            out.push_str(&whole.whole(str_repr(&whole.plain)).raw());
        }
        ValueKind::Map if value.downcast_object_ref::<Dict>().is_some() || value.is_kwargs() => {
            out.push('{');
            for (at, (key, item)) in pairs(value).unwrap_or_default().iter().enumerate() {
                out.push_str(if at == 0 { "" } else { ", " });
                write_repr(key, out, false)?;
                out.push_str(": ");
                write_repr(item, out, false)?;
            }
            out.push('}');
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let tuple = value.is_tuple();
            let items = iterate(value)?;
            out.push(if tuple { '(' } else { '[' });
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { ", " });
                write_repr(item, out, false)?;
            }
            out.push_str(if tuple && items.len() == 1 { "," } else { "" });
            out.push(if tuple { ')' } else { ']' });
        }
        _ => return Err(fail("this value cannot be written as text")),
    }
    Ok(())
}

/// `value[key]` as Jinja has it: an index, a character, an entry, or undefined.
pub fn item(value: &Value, key: &Value) -> Result<Value, Error> {
    if value.is_undefined() {
        return Err(Error::new(ErrorKind::UndefinedError, "an undefined value has no items"));
    }
    if let Some(raw) = value.as_str() {
        let Some(index) = integer(key) else { return Ok(Value::UNDEFINED) };
        let whole = Text::parse(raw);
        let count = if index < 0 { whole.plain.chars().count() as i64 } else { 0 };
        let Ok(index) = usize::try_from(index + count) else { return Ok(Value::UNDEFINED) };
        let found = whole.plain.char_indices().nth(index);
        return Ok(found.map_or(Value::UNDEFINED, |(at, c)| text(&whole.slice(at..at + c.len_utf8()))));
    }
    if let (Some(index), ValueKind::Seq | ValueKind::Iterable) = (integer(key), value.kind()) {
        let items = iterate(value)?;
        let index = if index < 0 { index + items.len() as i64 } else { index };
        return Ok(usize::try_from(index).ok().and_then(|i| items.get(i).cloned()).unwrap_or(Value::UNDEFINED));
    }
    value.get_item(key)
}

/// Python's slice(start, stop, step).indices(): the positions taken.
fn positions(len: usize, start: Option<i64>, stop: Option<i64>, step: i64) -> Vec<usize> {
    let len = len as i64;
    let clamp = |at: i64, low: i64, high: i64| (if at < 0 { at.saturating_add(len) } else { at }).clamp(low, high);
    let mut taken = Vec::new();
    if step > 0 {
        let (mut at, stop) = (start.map_or(0, |s| clamp(s, 0, len)), stop.map_or(len, |s| clamp(s, 0, len)));
        while at < stop {
            taken.push(at as usize);
            at = at.saturating_add(step);
        }
    } else {
        let (mut at, stop) =
            (start.map_or(len - 1, |s| clamp(s, -1, len - 1)), stop.map_or(-1, |s| clamp(s, -1, len - 1)));
        while at > stop {
            taken.push(at as usize);
            at = at.saturating_add(step);
        }
    }
    taken
}

pub fn slice(value: &Value, start: &Value, stop: &Value, step: &Value) -> Result<Value, Error> {
    let bound = |v: &Value| match v {
        v if v.is_none() => Ok(None),
        v => integer(v).map(Some).ok_or_else(|| fail("slice indices must be integers or None")),
    };
    let (start, stop, step) = (bound(start)?, bound(stop)?, bound(step)?.unwrap_or(1));
    if step == 0 {
        return Err(fail("slice step cannot be zero"));
    }
    check()?;
    if let Some(raw) = value.as_str() {
        let whole = Text::parse(raw);
        let borders: Vec<usize> = whole.plain.char_indices().map(|(at, _)| at).chain([whole.plain.len()]).collect();
        let taken = positions(borders.len() - 1, start, stop, step);
        if step == 1 {
            let range = taken.first().map_or(0..0, |first| borders[*first]..borders[first + taken.len()]);
            return Ok(text(&whole.slice(range)));
        }
        let mut result = Text::default();
        for at in taken {
            result.append(&whole.slice(borders[at]..borders[at + 1]));
        }
        return Ok(text(&result));
    }
    if !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
        return Err(fail(format!("'{}' object is not subscriptable", type_name(value))));
    }
    let items = iterate(value)?;
    let taken = positions(items.len(), start, stop, step).into_iter().map(|at| items[at].clone()).collect();
    if value.is_tuple() {
        return Ok(Value::from(Tuple::new(taken)));
    }
    list(taken)
}

/// Arguments of a call: by position, then by name.
pub struct Args<'a> {
    pub positional: &'a [Value],
    named: Option<&'a Value>,
}

impl<'a> Args<'a> {
    pub fn new(all: &'a [Value]) -> Args<'a> {
        match all.split_last() {
            Some((last, rest)) if last.is_kwargs() => Args { positional: rest, named: Some(last) },
            _ => Args { positional: all, named: None },
        }
    }

    pub fn get(&self, at: usize, name: &str) -> Option<Value> {
        self.positional.get(at).cloned().or_else(|| {
            let object = self.named?.as_object()?;
            object.get_value(&Value::from(name))
        })
    }

    pub fn named(&self) -> Vec<(Value, Value)> {
        self.named.and_then(pairs).unwrap_or_default()
    }

    pub fn str(&self, at: usize, name: &str) -> Result<Option<String>, Error> {
        match self.get(at, name) {
            None => Ok(None),
            Some(v) if v.is_none() => Ok(None),
            Some(v) => match v.as_str() {
                Some(raw) => Ok(Some(raw.to_owned())),
                None => Err(fail(format!("argument '{name}' must be str, not {}", type_name(&v)))),
            },
        }
    }

    pub fn int(&self, at: usize, name: &str) -> Result<Option<i64>, Error> {
        match self.get(at, name) {
            None => Ok(None),
            Some(v) if v.is_none() => Ok(None),
            Some(v) => integer(&v).map(Some).ok_or_else(|| fail(format!("argument '{name}' must be an integer"))),
        }
    }

    pub fn flag(&self, at: usize, name: &str) -> bool {
        self.get(at, name).is_some_and(|v| v.is_true())
    }

    pub fn need(&self, at: usize) -> Result<&'a Value, Error> {
        self.positional
            .get(at)
            .ok_or_else(|| Error::new(ErrorKind::MissingArgument, format!("argument {} is missing", at + 1)))
    }
}

/// A function of ours as a value that templates can call.
pub type Native = fn(&mut State, &[Value]) -> Result<Value, Error>;

pub struct Function(pub Native);

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<function>")
    }
}

impl Object for Function {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
    fn call(self: &Arc<Self>, state: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        check()?;
        (self.0)(state, args)
    }
}
