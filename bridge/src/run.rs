//! What holds for one run of one template: its limits, the marks in use, and why it failed. One run is one thread.
use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use minijinja::{Error, ErrorKind};

use crate::alloc::live_bytes;

/// The C side's `Limits`, in the units of the name.
#[derive(Clone, Copy)]
pub struct Limits {
    pub time_ms: u64,
    pub recursion_depth: usize,
    pub output_bytes: usize,
    pub source_bytes: usize,
    pub memory_bytes: usize,
}

/// Writes the current date by a strftime format; returns the bytes written, 0 when they do not fit.
pub type Clock = Option<
    unsafe extern "C" fn(
        user: *const std::ffi::c_void,
        format: *const u8,
        format_bytes: usize,
        out: *mut u8,
        out_bytes: usize,
    ) -> usize,
>;

/// Why a run ended early, told apart from an ordinary error of the template.
pub enum Stop {
    Limit(String),
    Raised(String),
}

thread_local! {
    static DEADLINE: Cell<Option<Instant>> = const { Cell::new(None) };
    static MEMORY: Cell<usize> = const { Cell::new(usize::MAX) };
    static OUTPUT: Cell<usize> = const { Cell::new(usize::MAX) };
    static TICK: Cell<u32> = const { Cell::new(0) };
    static MARKS: Cell<Option<(char, char)>> = const { Cell::new(None) };
    static CLOCK: Cell<(Clock, *const std::ffi::c_void)> = const { Cell::new((None, std::ptr::null())) };
    static STOP: RefCell<Option<Stop>> = const { RefCell::new(None) };
}

pub fn begin(limits: &Limits, marks: Option<(char, char)>, clock: (Clock, *const std::ffi::c_void)) {
    DEADLINE.set(Some(Instant::now() + Duration::from_millis(limits.time_ms)));
    MEMORY.set(live_bytes().saturating_add(limits.memory_bytes));
    OUTPUT.set(limits.output_bytes);
    MARKS.set(marks);
    CLOCK.set(clock);
    STOP.set(None);
}

pub fn marks() -> Option<(char, char)> {
    MARKS.get()
}

pub fn clock() -> (Clock, *const std::ffi::c_void) {
    CLOCK.get()
}

pub fn take_stop() -> Option<Stop> {
    STOP.take()
}

pub fn limit(what: String) -> Error {
    STOP.set(Some(Stop::Limit(what.clone())));
    Error::new(ErrorKind::InvalidOperation, what)
}

pub fn raised(message: String) -> Error {
    STOP.set(Some(Stop::Raised(message.clone())));
    Error::new(ErrorKind::InvalidOperation, message)
}

pub fn fail(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, what.into())
}

/// Called by every operation that may repeat: memory each time, the clock now and then.
pub fn check() -> Result<(), Error> {
    if live_bytes() > MEMORY.get() {
        return Err(limit("the template needs more memory than is allowed".into()));
    }
    let tick = TICK.get().wrapping_add(1);
    TICK.set(tick);
    if tick % 32 == 0 {
        if let Some(deadline) = DEADLINE.get() {
            if Instant::now() > deadline {
                return Err(limit("the template runs longer than is allowed".into()));
            }
        }
    }
    Ok(())
}

/// Refuses a text or list of `size` bytes (or items) before it is made.
pub fn check_size(size: Option<usize>) -> Result<(), Error> {
    check()?;
    match size {
        Some(size) if size <= OUTPUT.get() => Ok(()),
        _ => Err(limit(format!("the template makes a value larger than {} bytes", OUTPUT.get()))),
    }
}

/// How many items a list may have, and one more: looking for more is of no use.
pub fn enough_items() -> usize {
    OUTPUT.get() / std::mem::size_of::<minijinja::Value>() + 1
}
