//! A compiled chat template, set up as transformers sets up jinja2, and its rendering.
use std::collections::BTreeMap;

use minijinja::machinery::{self, CodeGenerator, Instructions};
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, Value};

use crate::json::{choose_marks, parse_variables};
use crate::run::{self, check_size, Clock, Limits};
use crate::text::Text;
use crate::value::to_str;
use crate::{filters, methods, ops, rewrite};

const NAME: &str = "chat template";

pub struct Template {
    // Declared before `source`, which it borrows from, and so dropped before it.
    compiled: Compiled,
    source: Box<str>,
    limits: Limits,
}

struct Compiled {
    instructions: Instructions<'static>,
    blocks: BTreeMap<&'static str, Instructions<'static>>,
    environment: Environment<'static>,
}

/// What came out: the text, and which byte ranges of it came from outside.
pub struct Rendered {
    pub text: String,
    pub outside: Vec<std::ops::Range<usize>>,
}

/// Brings `source` from Jinja's dialect to the engine's: every end of line is one newline; transformers' `generation` tag, which only
/// notes where an answer is, becomes `with`, whose body is a scope of its own, too; and `raw` keeps the newline that follows it.
fn to_dialect(source: &str) -> String {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut result = String::with_capacity(source.len());
    let mut rest = &*source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at + 2);
        result.push_str(before);
        rest = tag;
        let inner = tag.strip_prefix(['-', '+']).unwrap_or(tag);
        let sign = &tag[..tag.len() - inner.len()];
        let words = inner.trim_start();
        for (old, new) in [("generation", " with "), ("endgeneration", " endwith "), ("raw", " raw ")] {
            let Some(after) = words.strip_prefix(old) else { continue };
            let end = after.trim_start();
            let keep = if old == "raw" && end.starts_with("%}") { "+" } else { "" };
            if end.starts_with("%}") || end.starts_with("-%}") || end.starts_with("+%}") {
                // Line numbers of errors stay right.
                let skipped = &inner[..inner.len() - end.len()];
                let lines = "\n".repeat(skipped.matches('\n').count());
                result.extend([sign, new, &lines, keep]);
                rest = end;
                if old == "raw" {
                    let (verbatim, after) = rest.split_at(end_of_raw(rest));
                    result.push_str(verbatim);
                    rest = after;
                }
                break;
            }
        }
    }
    result.push_str(rest);
    result
}

/// Where the `endraw` tag begins, or the end.
fn end_of_raw(source: &str) -> usize {
    let ends = |at: &usize| source[at + 2..].trim_start_matches(['-', '+']).trim_start().starts_with("endraw");
    source.match_indices("{%").map(|(at, _)| at).find(ends).unwrap_or(source.len())
}

impl Template {
    pub fn new(source: &str, limits: Limits) -> Result<Template, Error> {
        run::begin(&limits, None, (None, std::ptr::null()));
        if source.len() > limits.source_bytes {
            return Err(run::limit(format!(
                "the template has {} bytes, at most {} are allowed",
                source.len(),
                limits.source_bytes
            )));
        }
        let source = to_dialect(source).into_boxed_str();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?;
        rewrite::check_nesting(&source, &syntax)?;
        // SAFETY: the text is on the heap, never changes, and outlives `compiled` (the order of the fields).
        let text: &'static str = unsafe { &*(&*source as *const str) };
        let parsed = machinery::parse(text, NAME, syntax)?;
        let rewritten = rewrite::template(&parsed)?;
        let mut generator = CodeGenerator::new(NAME, text);
        generator.compile_stmt(&rewritten);
        let (instructions, blocks) = generator.finish();

        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_unknown_method_callback(methods::call);
        environment.set_formatter(|out, _, value| {
            match value.as_str() {
                Some(raw) => {
                    check_size(Some(raw.len()))?;
                    out.write_str(raw)?;
                }
                None => out.write_str(&to_str(value)?)?,
            }
            Ok(())
        });
        environment.set_recursion_limit(limits.recursion_depth.saturating_mul(5));
        // The clock decides; this only ends what never asks for it.
        environment.set_fuel(Some(limits.time_ms.saturating_mul(50_000)));
        filters::install(&mut environment);
        ops::install(&mut environment);
        Ok(Template { compiled: Compiled { instructions, blocks, environment }, source, limits })
    }

    /// `trusted` and `outside` are JSON objects of variables. With `track`, the result says what came from `outside`.
    pub fn render(
        &self,
        trusted: &str,
        outside: &str,
        track: bool,
        clock: (Clock, *const std::ffi::c_void),
    ) -> Result<Rendered, Error> {
        run::begin(&self.limits, None, clock);
        let marks = if track {
            let free = choose_marks(&[&self.source, trusted, outside]);
            Some(free.ok_or_else(|| run::fail("the text uses up every private-use character that could mark it"))?)
        } else {
            None
        };
        run::begin(&self.limits, marks, clock);
        let mut variables = parse_variables(outside, marks)?;
        variables.extend(parse_variables(trusted, None)?);
        let context: BTreeMap<String, Value> = variables.into_iter().collect();

        let mut raw = String::new();
        let mut output = machinery::make_string_output(&mut raw);
        let Compiled { instructions, blocks, environment } = &self.compiled;
        machinery::eval(environment, instructions, Value::from(context), blocks, &mut output, AutoEscape::None)?;
        drop(output);
        let text = Text::parse(&raw);
        if text.plain.len() > self.limits.output_bytes {
            return Err(run::limit(format!("the template writes more than {} bytes", self.limits.output_bytes)));
        }
        Ok(Rendered { outside: text.outside.clone(), text: text.plain.into_owned() })
    }
}
