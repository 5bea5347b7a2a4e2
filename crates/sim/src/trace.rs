//! What happened, as a checksum (two runs of a seed must agree) and, if wanted, as lines to read.

/// Counts an event into the trace: a format string and numbers (anything that converts to `u64` with `as`).
#[macro_export]
macro_rules! note {
    ($trace:expr, $format:literal $(, $number:expr)* $(,)?) => {{
        let trace = &mut $trace;
        trace.text($format);
        $( trace.number($number as u64); )*
        if trace.prints() {
            trace.line(format_args!($format $(, $number)*));
        }
    }};
}

#[derive(Debug)]
pub struct Trace {
    hash: u64,
    step: u32,
    prints: bool,
}

impl Trace {
    pub fn new(prints: bool) -> Trace {
        Trace { hash: 0xcbf2_9ce4_8422_2325, step: 0, prints }
    }

    pub fn at_step(&mut self, step: u32) {
        self.step = step;
    }

    pub fn text(&mut self, text: &str) {
        text.bytes().for_each(|b| self.number(u64::from(b)));
    }

    pub fn number(&mut self, number: u64) {
        self.hash = (self.hash ^ number).wrapping_mul(0x100_0000_01b3).rotate_left(23);
    }

    pub fn prints(&self) -> bool {
        self.prints
    }

    #[cold]
    pub fn line(&self, line: std::fmt::Arguments<'_>) {
        println!("{:>5}  {line}", self.step);
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }
}
