//! Jinja's filters and tests with Python's results. A filter that is not here (or among the engine's own below) fails at load.
use std::cmp::Ordering;

use minijinja::value::{Rest, Tuple, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, State, Value};

use crate::json::{dump, Style};
use crate::methods::{is_lower, is_upper, join, replace};
use crate::ops::{add_two, holds};
use crate::printf::percent;
use crate::run::{check, check_size, fail};
use crate::text::{capitalize, lines, plain, strip_range, Text};
use crate::value::{
    compare, dict, equal, integer, item, iterate, list, number, pairs, string, text, to_str, type_name, Args, Native,
    Number,
};

/// Filters of the engine itself that do the same as Jinja's and look into no text.
const ENGINE_FILTERS: [&str; 7] = ["abs", "map", "reject", "rejectattr", "round", "select", "selectattr"];
const ENGINE_TESTS: [&str; 12] = [
    "boolean",
    "defined",
    "divisibleby",
    "even",
    "false",
    "float",
    "integer",
    "none",
    "odd",
    "string",
    "true",
    "undefined",
];

const FILTERS: [(&str, Native); 37] = [
    ("attr", |_, a| a[0].get_attr(&plain(Args::new(a).need(1)?.as_str().unwrap_or_default()))),
    ("batch", batch),
    ("capitalize", |_, a| change(a, |t| t.whole(capitalize(&t.plain)))),
    ("count", length),
    ("d", default),
    ("default", default),
    ("dictsort", dictsort),
    ("e", escape),
    ("escape", escape),
    ("first", |_, a| Ok(iterate(&a[0])?.into_iter().next().unwrap_or(Value::UNDEFINED))),
    ("float", float),
    ("forceescape", escape),
    ("format", format),
    ("indent", indent),
    ("int", int),
    ("items", items),
    ("join", join_filter),
    ("last", |_, a| Ok(iterate(&a[0])?.into_iter().next_back().unwrap_or(Value::UNDEFINED))),
    ("length", length),
    ("list", |_, a| list(iterate(&a[0])?)),
    ("lower", |_, a| change(a, |t| t.map_parts(str::to_lowercase))),
    ("max", |_, a| extreme(a, Ordering::Greater)),
    ("min", |_, a| extreme(a, Ordering::Less)),
    ("replace", replace_filter),
    ("reverse", reverse),
    ("safe", |_, a| Ok(string(to_str(&a[0])?))),
    ("slice", slice_filter),
    ("sort", sort),
    ("string", |_, a| Ok(string(to_str(&a[0])?))),
    ("sum", sum),
    ("title", |_, a| change(a, |t| t.whole(title(&t.plain)))),
    ("tojson", tojson),
    ("trim", trim),
    ("truncate", truncate),
    ("unique", unique),
    ("upper", |_, a| change(a, |t| t.map_parts(str::to_uppercase))),
    ("wordcount", wordcount),
];

type Test = fn(&[Value]) -> Result<bool, Error>;

const TESTS: [(&str, Test); 24] = [
    ("==", |a| holds("==", &a[0], second(a)?)),
    ("eq", |a| holds("==", &a[0], second(a)?)),
    ("equalto", |a| holds("==", &a[0], second(a)?)),
    ("!=", |a| holds("!=", &a[0], second(a)?)),
    ("ne", |a| holds("!=", &a[0], second(a)?)),
    ("<", |a| holds("<", &a[0], second(a)?)),
    ("lt", |a| holds("<", &a[0], second(a)?)),
    ("lessthan", |a| holds("<", &a[0], second(a)?)),
    ("<=", |a| holds("<=", &a[0], second(a)?)),
    ("le", |a| holds("<=", &a[0], second(a)?)),
    (">", |a| holds(">", &a[0], second(a)?)),
    ("gt", |a| holds(">", &a[0], second(a)?)),
    ("greaterthan", |a| holds(">", &a[0], second(a)?)),
    (">=", |a| holds(">=", &a[0], second(a)?)),
    ("ge", |a| holds(">=", &a[0], second(a)?)),
    ("in", |a| holds("in", &a[0], second(a)?)),
    ("sameas", |a| Ok(type_name(&a[0]) == type_name(second(a)?) && equal(&a[0], second(a)?)?)),
    ("mapping", |a| Ok(a[0].kind() == ValueKind::Map)),
    ("sequence", |a| {
        Ok(matches!(
            a[0].kind(),
            ValueKind::String | ValueKind::Map | ValueKind::Seq | ValueKind::Iterable | ValueKind::Undefined
        ))
    }),
    ("iterable", |a| {
        Ok(matches!(
            a[0].kind(),
            ValueKind::String | ValueKind::Map | ValueKind::Seq | ValueKind::Iterable | ValueKind::Undefined
        ))
    }),
    ("number", |a| Ok(number(&a[0]).is_some())),
    ("lower", |a| Ok(is_lower(&plain(&to_str(&a[0])?)))),
    ("upper", |a| Ok(is_upper(&plain(&to_str(&a[0])?)))),
    ("callable", |a| Ok(matches!(a[0].kind(), ValueKind::Plain))),
];

pub fn install(environment: &mut Environment) {
    for name in ["bool", "chain", "groupby", "lines", "pprint", "split", "zip"] {
        environment.remove_filter(name);
    }
    for (name, filter) in FILTERS {
        add_filter(environment, name, filter);
    }
    for (name, test) in TESTS {
        environment.add_test(name, move |args: Rest<Value>| -> Result<bool, Error> {
            check()?;
            test(&args.0)
        });
    }
    for name in ["startingwith", "endingwith", "safe", "escaped", "filter", "test", "int"] {
        environment.remove_test(name);
    }
}

fn add_filter(environment: &mut Environment, name: &'static str, filter: Native) {
    environment.add_filter(name, move |state: &mut State, args: Rest<ValueOrKwargs>| -> Result<Value, Error> {
        check()?;
        let args: Vec<Value> = args.0.into_iter().map(ValueOrKwargs::into_value).collect();
        filter(state, &args)
    });
}

pub fn has_filter(name: &str) -> bool {
    ENGINE_FILTERS.contains(&name) || FILTERS.iter().any(|(known, _)| *known == name)
}

pub fn has_test(name: &str) -> bool {
    ENGINE_TESTS.contains(&name) || TESTS.iter().any(|(known, _)| *known == name)
}

fn second(args: &[Value]) -> Result<&Value, Error> {
    args.get(1).ok_or_else(|| fail("the test takes an argument"))
}

fn change(args: &[Value], change: impl Fn(&Text) -> Text<'static>) -> Result<Value, Error> {
    let raw = to_str(&args[0])?;
    check_size(Some(raw.len()))?;
    Ok(text(&change(&Text::parse(&raw))))
}

fn length(_: &mut State, args: &[Value]) -> Result<Value, Error> {
    if let Some(raw) = args[0].as_str() {
        return Ok(Value::from(plain(raw).chars().count()));
    }
    match args[0].kind() {
        ValueKind::Undefined => Ok(Value::from(0)),
        ValueKind::Seq | ValueKind::Map | ValueKind::Iterable => {
            args[0].len().map(Value::from).ok_or_else(|| fail("this value has no length"))
        }
        _ => Err(fail(format!("object of type '{}' has no len()", type_name(&args[0])))),
    }
}

fn default(_: &mut State, args: &[Value]) -> Result<Value, Error> {
    let args = Args::new(args);
    let value = args.need(0)?;
    let missing = value.is_undefined() || (args.flag(2, "boolean") && !value.is_true());
    Ok(if missing { args.get(1, "default_value").unwrap_or_else(|| Value::from("")) } else { value.clone() })
}

fn escape(_: &mut State, args: &[Value]) -> Result<Value, Error> {
    change(args, |t| {
        t.map_parts(|part| {
            part.replace('&', "&amp;")
                .replace('>', "&gt;")
                .replace('<', "&lt;")
                .replace('\'', "&#39;")
                .replace('"', "&#34;")
        })
    })
}

fn format(_: &mut State, args: &[Value]) -> Result<Value, Error> {
    let args = Args::new(args);
    let pattern = to_str(args.need(0)?)?;
    let named = args.named();
    let values = if named.is_empty() { Value::from(Tuple::new(args.positional[1..].to_vec())) } else { dict(named)? };
    percent(&pattern, &values)
}

fn indent(_: &mut State, args: &[Value]) -> Result<Value, Error> {
    let raw = to_str(&args[0])?;
    let args = Args::new(args);
    let width = match args.get(1, "width") {
        None => "    ".to_owned(),
        Some(value) => match value.as_str() {
            Some(words) => words.to_owned(),
            None => {
                let count = integer(&value).ok_or_else(|| fail("indent() takes a width"))?.max(0) as usize;
                check_size(Some(count))?;
                " ".repeat(count)
            }
        },
    };
    let (width, whole) = (Text::parse(&width), Text::parse(&raw));
    let (first, blank) = (args.flag(2, "first"), args.flag(3, "blank"));
    let mut ended = Text::default();
    ended.append(&whole);
    ended.push("\n", false);
    let mut result = Text::default();
    let ranges = lines(&ended.plain, false);
    check_size(ranges.len().checked_mul(std::mem::size_of::<Value>()))?;
    for (at, range) in ranges.into_iter().enumerate() {
        if at > 0 {
            result.push("\n", false);
        }
        if if at == 0 { first } else { blank || !range.is_empty() } {
            result.append(&width);
        }
        result.append(&ended.slice(range));
        check_size(Some(result.plain.len()))?;
    }
    Ok(text(&result))
}

fn int(_: &mut State, args: &[Value]) -> Result<Value, Error> {
    let args = Args::new(args);
    let otherwise = || Ok(args.get(1, "default").unwrap_or_else(|| Value::from(0)));
    let value = args.need(0)?;
    match number(value) {
        Some(Number::Int(n)) => return crate::value::from_int(n),
        Some(Number::Float(f)) if f.is_finite() && f.abs() < 9e18 => return Ok(Value::from(f as i64)),
        _ => {}
    }
    let Some(raw) = value.as_str() else { return otherwise() };
    let bare = plain(raw);
    let digits = bare.trim().replace('_', "");
    let base = args.int(2, "base")?.unwrap_or(10);
    let unsigned = match base {
        16 => digits.trim_start_matches("0x").trim_start_matches("0X"),
        8 => digits.trim_start_matches("0o"),
        2 => digits.trim_start_matches("0b"),
        _ => &digits,
    };
    if let Ok(n) =
        i64::from_str_radix(unsigned, u32::try_from(base).ok().filter(|b| (2..=36).contains(b)).unwrap_or(10))
    {
        return Ok(Value::from(n));
    }
    match digits.parse::<f64>() {
        Ok(f) if f.is_finite() && f.abs() < 9e18 => Ok(Value::from(f as i64)),
        _ => otherwise(),
    }
}

fn float(_: &mut State, args: &[Value]) -> Result<Value, Error> {
    let args = Args::new(args);
    let value = args.need(0)?;
    let parsed = match number(value) {
        Some(Number::Int(n)) => Some(n as f64),
        Some(Number::Float(f)) => Some(f),
        None => value.as_str().and_then(|raw| plain(raw).trim().parse().ok()),
    };
    Ok(parsed.map(Value::from).or_else(|| args.get(1, "default")).unwrap_or_else(|| Value::from(0.0)))
}

fn items(_: &mut State, args: &[Value]) -> Result<Value, Error> {
    if args[0].is_undefined() {
        return list(Vec::new());
    }
    let entries = pairs(&args[0]).ok_or_else(|| fail("Can only get item pairs from a mapping."))?;
    list(entries.into_iter().map(|(key, value)| Value::from(Tuple::new(vec![key, value]))).collect())
}

/// The attribute path of sort, join and others: "a.b.0"; None gives the value itself.
fn by_attribute(value: &Value, path: Option<&str>) -> Result<Value, Error> {
    let mut found = value.clone();
    for part in path.iter().flat_map(|path| path.split('.')) {
        let key = part.parse::<i64>().map_or_else(|_| Value::from(part), Value::from);
        found = item(&found, &key)?;
    }
    Ok(found)
}

fn attribute(args: &Args, at: usize) -> Result<Option<String>, Error> {
    match args.get(at, "attribute") {
        None => Ok(None),
        Some(value) if value.is_none() => Ok(None),
        Some(value) => to_str(&value).map(|raw| Some(plain(&raw).into_owned())),
    }
}

fn join_filter(_: &mut State, args: &[Value]) -> Result<Value, Error> {
    let args = Args::new(args);
    let separator = args.get(1, "d").map_or(Ok(String::new()), |v| to_str(&v))?;
    let path = attribute(&args, 2)?;
    let items =
        iterate(args.need(0)?)?.iter().map(|v| by_attribute(v, path.as_deref())).collect::<Result<Vec<_>, _>>()?;
    join(&Text::parse(&separator), &items, true)
}

fn replace_filter(_: &mut State, args: &[Value]) -> Result<Value, Error> {
    let args = Args::new(args);
    let raw = to_str(args.need(0)?)?;
    let part = |at, name| args.get(at, name).ok_or_else(|| fail("replace() takes two texts")).and_then(|v| to_str(&v));
    replace(&Text::parse(&raw), &plain(&part(1, "old")?), &part(2, "new")?, args.int(3, "count")?)
}

fn reverse(_: &mut State, args: &[Value]) -> Result<Value, Error> {
    if args[0].as_str().is_some() {
        return crate::value::slice(&args[0], &Value::from(()), &Value::from(()), &Value::from(-1));
    }
    list(iterate(&args[0])?.into_iter().rev().collect())
}

/// Jinja ignores case in sort, unique, min and max unless it is told not to.
fn fold(value: &Value, case_sensitive: bool) -> Value {
    match value.as_str() {
        Some(raw) if !case_sensitive => Value::from(plain(raw).to_lowercase()),
        Some(raw) => Value::from(&*plain(raw)),
        None => value.clone(),
    }
}

fn sort_by_key(mut keyed: Vec<(Value, Value)>, reverse: bool) -> Result<Vec<Value>, Error> {
    let mut failure = None;
    keyed.sort_by(|(a, _), (b, _)| {
        let order = compare(a, b).unwrap_or_else(|error| {
            failure.get_or_insert(error);
            Ordering::Equal
        });
        if reverse {
            order.reverse()
        } else {
            order
        }
    });
    match failure {
        Some(error) => Err(error),
        None => Ok(keyed.into_iter().map(|(_, value)| value).collect()),
    }
}

fn sort(_: &mut State, args: &[Value]) -> Result<Value, Error> {
    let args = Args::new(args);
    let (reverse, case_sensitive, path) =
        (args.flag(1, "reverse"), args.flag(2, "case_sensitive"), attribute(&args, 3)?);
    let paths: Vec<Option<&str>> =
        path.as_deref().map_or(vec![None], |p| p.split(',').map(|p| Some(p.trim())).collect());
    let mut keyed = Vec::new();
    for value in iterate(args.need(0)?)? {
        let keys = paths
            .iter()
            .map(|p| by_attribute(&value, *p).map(|k| fold(&k, case_sensitive)))
            .collect::<Result<Vec<_>, _>>()?;
        keyed.push((Value::from(Tuple::new(keys)), value));
    }
    list(sort_by_key(keyed, reverse)?)
}

fn dictsort(_: &mut State, args: &[Value]) -> Result<Value, Error> {
    let args = Args::new(args);
    let by = args.str(2, "by")?.unwrap_or_else(|| "key".into());
    let by_key = match &*plain(&by) {
        "key" => true,
        "value" => false,
        _ => return Err(fail("You can only sort by either \"key\" or \"value\"")),
    };
    let entries = pairs(args.need(0)?).ok_or_else(|| fail("dictsort takes a dictionary"))?;
    let case_sensitive = args.flag(1, "case_sensitive");
    let keyed = entries.into_iter().map(|(key, value)| {
        (
            fold(if by_key { &key } else { &value }, case_sensitive),
            Value::from(Tuple::new(vec![key.clone(), value.clone()])),
        )
    });
    list(sort_by_key(keyed.collect(), args.flag(3, "reverse"))?)
}

fn unique(_: &mut State, args: &[Value]) -> Result<Value, Error> {
    let args = Args::new(args);
    let (case_sensitive, path) = (args.flag(1, "case_sensitive"), attribute(&args, 2)?);
    let (mut seen, mut kept) = (std::collections::BTreeSet::new(), Vec::new());
    for value in iterate(args.need(0)?)? {
        if seen.insert(fold(&by_attribute(&value, path.as_deref())?, case_sensitive)) {
            kept.push(value);
        }
    }
    list(kept)
}

fn extreme(args: &[Value], wanted: Ordering) -> Result<Value, Error> {
    let args = Args::new(args);
    let (case_sensitive, path) = (args.flag(1, "case_sensitive"), attribute(&args, 2)?);
    let mut best: Option<(Value, Value)> = None;
    for value in iterate(args.need(0)?)? {
        let key = fold(&by_attribute(&value, path.as_deref())?, case_sensitive);
        let better = match &best {
            Some((other, _)) => compare(&key, other)? == wanted,
            None => true,
        };
        if better {
            best = Some((key, value));
        }
    }
    Ok(best.map_or(Value::UNDEFINED, |(_, value)| value))
}

fn count_of(args: &Args, what: &str) -> Result<usize, Error> {
    let count = args.int(1, what)?.and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
    let count = count.ok_or_else(|| fail(format!("the argument '{what}' must be a positive integer")))?;
    check_size(count.checked_mul(std::mem::size_of::<Value>()))?;
    Ok(count)
}

fn batch(_: &mut State, args: &[Value]) -> Result<Value, Error> {
    let args = Args::new(args);
    let (size, fill) = (count_of(&args, "linecount")?, args.get(2, "fill_with").filter(|v| !v.is_none()));
    let mut rows = Vec::new();
    for row in iterate(args.need(0)?)?.chunks(size) {
        let mut row = row.to_vec();
        if let Some(fill) = &fill {
            row.resize(size, fill.clone());
        }
        rows.push(list(row)?);
    }
    list(rows)
}

fn slice_filter(_: &mut State, args: &[Value]) -> Result<Value, Error> {
    let args = Args::new(args);
    let (count, fill) = (count_of(&args, "slices")?, args.get(2, "fill_with").filter(|v| !v.is_none()));
    let items = iterate(args.need(0)?)?;
    let (size, longer) = (items.len() / count, items.len() % count);
    let (mut columns, mut at) = (Vec::new(), 0);
    for column in 0..count {
        let end = at + size + usize::from(column < longer);
        let mut part = items[at..end].to_vec();
        if let Some(fill) = fill.as_ref().filter(|_| column >= longer) {
            part.push(fill.clone());
        }
        columns.push(list(part)?);
        at = end;
    }
    list(columns)
}

fn sum(_: &mut State, args: &[Value]) -> Result<Value, Error> {
    let args = Args::new(args);
    let path = attribute(&args, 1)?;
    let mut total = args.get(2, "start").unwrap_or_else(|| Value::from(0));
    for value in iterate(args.need(0)?)? {
        total = add_two(&total, &by_attribute(&value, path.as_deref())?)?;
    }
    Ok(total)
}

/// Jinja's own title(): words begin after white space, '-' and opening brackets.
fn title(plain: &str) -> String {
    let mut result = String::with_capacity(plain.len());
    let mut rest = plain;
    while !rest.is_empty() {
        let separator = |c: char| crate::text::is_space(c) || "-({[<".contains(c);
        let word = rest.find(separator).unwrap_or(rest.len());
        result.push_str(&capitalize(&rest[..word]));
        let end = rest[word..].find(|c| !separator(c)).map_or(rest.len(), |at| word + at);
        result.push_str(&rest[word..end]);
        rest = &rest[end..];
    }
    result
}

fn tojson(_: &mut State, args: &[Value]) -> Result<Value, Error> {
    let args = Args::new(args);
    let indent = match args.get(2, "indent") {
        None => None,
        Some(value) if value.is_none() => None,
        Some(value) => Some(match value.as_str() {
            Some(words) => plain(words).into_owned(),
            None => {
                let count = integer(&value).ok_or_else(|| fail("tojson() takes an integer or a text as indent"))?.max(0)
                    as usize;
                check_size(Some(count))?;
                " ".repeat(count)
            }
        }),
    };
    let mut separators = [if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()];
    if let Some(given) = args.get(3, "separators").filter(|v| !v.is_none()) {
        for (at, separator) in separators.iter_mut().enumerate() {
            *separator = plain(&to_str(&item(&given, &Value::from(at))?)?).into_owned();
        }
    }
    let [item_separator, key_separator] = separators;
    let style = Style {
        ensure_ascii: args.flag(1, "ensure_ascii"),
        indent,
        item_separator,
        key_separator,
        sort_keys: args.flag(4, "sort_keys"),
    };
    dump(args.need(0)?, &style).map(string)
}

fn trim(_: &mut State, args: &[Value]) -> Result<Value, Error> {
    let raw = to_str(&args[0])?;
    let (whole, set) = (Text::parse(&raw), Args::new(args).str(1, "chars")?);
    let set = set.as_deref().map(plain);
    Ok(text(&whole.slice(strip_range(&whole.plain, set.as_deref(), true, true))))
}

fn truncate(_: &mut State, args: &[Value]) -> Result<Value, Error> {
    let raw = to_str(&args[0])?;
    let (whole, args) = (Text::parse(&raw), Args::new(args));
    let length = args.int(1, "length")?.unwrap_or(255).max(0) as usize;
    let (kill_words, leeway) = (args.flag(2, "killwords"), args.int(4, "leeway")?.unwrap_or(5).max(0) as usize);
    let end = args.str(3, "end")?.unwrap_or_else(|| "...".into());
    let end = Text::parse(&end);
    let borders: Vec<usize> = whole.plain.char_indices().map(|(at, _)| at).chain([whole.plain.len()]).collect();
    let end_chars = end.plain.chars().count();
    if length < end_chars {
        return Err(fail("truncate() needs a length that its end fits into"));
    }
    if borders.len() - 1 <= length.saturating_add(leeway) {
        return Ok(string(raw));
    }
    let mut cut = borders[length - end_chars];
    if !kill_words {
        cut = whole.plain[..cut].rfind(' ').unwrap_or(cut);
    }
    let mut result = Text::default();
    result.append(&whole.slice(0..cut));
    result.append(&end);
    Ok(text(&result))
}

fn wordcount(_: &mut State, args: &[Value]) -> Result<Value, Error> {
    let raw = to_str(&args[0])?;
    let bare = plain(&raw);
    let words = bare.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty()).count();
    Ok(Value::from(words))
}
