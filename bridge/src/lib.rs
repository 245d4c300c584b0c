//! The C interface: parse a chat template, render it. Nothing here trusts the template or its variables; a panic becomes an error.
//! Every call does its work on a thread of its own, whose stack has a known size.
#![deny(unsafe_op_in_unsafe_fn)]

mod alloc;
mod filters;
mod json;
mod methods;
mod ops;
mod printf;
mod rewrite;
mod run;
mod template;
mod text;
mod value;

use std::ffi::c_void;

use minijinja::{Error, ErrorKind};

use run::{Clock, Limits, Stop};
use template::Template;

/// Parsing, code generation and evaluation recurse at most as deep as rewrite.rs and the engine's limits allow; this is enough for it.
const STACK_BYTES: usize = 16 << 20;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct CLimits {
    time_ms: u64,
    recursion_depth: usize,
    output_bytes: usize,
    source_bytes: usize,
    memory_bytes: usize,
}

#[repr(C)]
pub struct CText {
    data: *const u8,
    size: usize,
}

/// moebox_bridge_status of the header.
#[repr(i32)]
#[derive(Clone, Copy, PartialEq)]
pub enum Status {
    Ok = 0,
    Syntax = 1,
    Raised = 2,
    Limit = 3,
    Failed = 4,
    Panic = 5,
}

#[repr(C)]
pub struct CResult {
    status: Status,
    line: u32,
    text: *mut u8,
    text_size: usize,
    spans: *mut usize,
    span_values: usize,
}

struct Outcome {
    status: Status,
    line: u32,
    text: String,
    spans: Vec<usize>,
}

impl From<Outcome> for CResult {
    fn from(outcome: Outcome) -> CResult {
        let text = Box::leak(outcome.text.into_bytes().into_boxed_slice());
        let spans = Box::leak(outcome.spans.into_boxed_slice());
        CResult {
            status: outcome.status,
            line: outcome.line,
            text: text.as_mut_ptr(),
            text_size: text.len(),
            spans: spans.as_mut_ptr(),
            span_values: spans.len(),
        }
    }
}

fn failure(error: &Error) -> Outcome {
    let line = error.line().and_then(|line| u32::try_from(line).ok()).unwrap_or(0);
    let (status, text) = match run::take_stop() {
        Some(Stop::Limit(what)) => (Status::Limit, what),
        Some(Stop::Raised(what)) => (Status::Raised, what),
        None if error.kind() == ErrorKind::OutOfFuel => {
            (Status::Limit, "the template runs longer than is allowed".into())
        }
        None => {
            let detail =
                error.detail().map_or_else(|| error.kind().to_string(), |detail| format!("{}: {detail}", error.kind()));
            match error.kind() {
                ErrorKind::SyntaxError => (Status::Syntax, detail),
                // The engine has no kind for its recursion limit.
                _ if detail.contains("recursion limit") => (Status::Limit, detail),
                _ => (Status::Failed, detail),
            }
        }
    };
    Outcome { status, line, text, spans: Vec::new() }
}

/// Runs `work` on a thread with a stack of its own; a panic ends that thread only.
fn guarded<T: Send>(work: impl FnOnce() -> Result<T, Outcome> + Send) -> Result<T, Outcome> {
    static QUIET: std::sync::Once = std::sync::Once::new();
    QUIET.call_once(|| std::panic::set_hook(Box::new(|_| {})));
    let trouble = |text: &str| Outcome { status: Status::Panic, line: 0, text: text.into(), spans: Vec::new() };
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().stack_size(STACK_BYTES);
        match builder.spawn_scoped(scope, work) {
            Ok(thread) => thread.join().unwrap_or_else(|_| Err(trouble("the template engine failed inside"))),
            Err(_) => Err(trouble("no thread could be started to run the template")),
        }
    })
}

/// # Safety
/// `text` points to `size` bytes that live for the call.
unsafe fn read<'a>(text: CText) -> Result<&'a str, Outcome> {
    let bytes = if text.size == 0 { &[][..] } else { unsafe { std::slice::from_raw_parts(text.data, text.size) } };
    std::str::from_utf8(bytes).map_err(|error| Outcome {
        status: Status::Syntax,
        line: 0,
        text: format!("invalid UTF-8 at byte {}", error.valid_up_to()),
        spans: Vec::new(),
    })
}

/// # Safety
/// `source` points to its bytes; `result` to room for a result, which is freed by moebox_bridge_result_free.
#[no_mangle]
pub unsafe extern "C" fn moebox_template_parse(source: CText, limits: CLimits, result: *mut CResult) -> *mut Template {
    let limits = Limits {
        time_ms: limits.time_ms,
        recursion_depth: limits.recursion_depth,
        output_bytes: limits.output_bytes,
        source_bytes: limits.source_bytes,
        memory_bytes: limits.memory_bytes,
    };
    let parsed = unsafe { read(source) }.and_then(|source| {
        guarded(move || Template::new(source, limits).map(Box::new).map_err(|error| failure(&error)))
    });
    let (template, outcome) = match parsed {
        Ok(template) => {
            (Box::into_raw(template), Outcome { status: Status::Ok, line: 0, text: String::new(), spans: Vec::new() })
        }
        Err(outcome) => (std::ptr::null_mut(), outcome),
    };
    unsafe { result.write(outcome.into()) };
    template
}

/// # Safety
/// `template` comes from moebox_template_parse; the texts and `result` as there. Several threads may render one template at once.
#[no_mangle]
pub unsafe extern "C" fn moebox_template_render(
    template: *const Template,
    trusted: CText,
    outside: CText,
    track: bool,
    clock: Clock,
    clock_user: *const c_void,
    result: *mut CResult,
) {
    struct Everything<'a>(&'a Template, &'a str, &'a str, Clock, *const c_void);
    // SAFETY: the caller of this function waits for the thread; a template is never changed; the clock is the caller's promise.
    unsafe impl Send for Everything<'_> {}
    let render = || {
        let (trusted, outside) = unsafe { (read(trusted)?, read(outside)?) };
        let all = Everything(unsafe { &*template }, trusted, outside, clock, clock_user);
        guarded(move || {
            let Everything(template, trusted, outside, clock, user) = { all };
            template.render(trusted, outside, track, (clock, user)).map_err(|error| failure(&error))
        })
    };
    let outcome = match render() {
        Ok(rendered) => Outcome {
            status: Status::Ok,
            line: 0,
            text: rendered.text,
            spans: rendered.outside.iter().flat_map(|range| [range.start, range.end]).collect(),
        },
        Err(outcome) => outcome,
    };
    unsafe { result.write(outcome.into()) };
}

/// # Safety
/// `template` comes from moebox_template_parse, or is null, and is not used again.
#[no_mangle]
pub unsafe extern "C" fn moebox_template_free(template: *mut Template) {
    if !template.is_null() {
        drop(unsafe { Box::from_raw(template) });
    }
}

/// # Safety
/// `result` was filled by a function above and is not used again.
#[no_mangle]
pub unsafe extern "C" fn moebox_bridge_result_free(result: *mut CResult) {
    let result = unsafe { result.read() };
    drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(result.text, result.text_size)) });
    drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(result.spans, result.span_values)) });
}
