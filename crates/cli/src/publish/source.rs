//! Where the messages come from.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

use anyhow::{Context, bail};

use super::Args;

/// A line beyond this is refused, so that a file without line ends does not fill the memory.
const LINE_BYTES_MAX: u64 = 128 << 20;

/// Messages, one after the other.
pub enum Source {
    Arguments { messages: Vec<Vec<u8>>, count: u64, next: u64, numbered: bool },
    Lines(BufReader<Box<dyn Read>>),
}

impl Source {
    pub fn open(args: &Args) -> anyhow::Result<Source> {
        if !args.messages.is_empty() {
            let messages: Vec<Vec<u8>> = args.messages.iter().map(|text| text.as_bytes().to_vec()).collect();
            let count = args.count.unwrap_or(messages.len() as u64);
            return Ok(Source::Arguments { messages, count, next: 0, numbered: args.count.is_some() });
        }
        if args.count.is_some() {
            bail!("--count needs the message as an argument");
        }
        let path = args.file.as_deref().filter(|path| *path != std::path::Path::new("-"));
        let input: Box<dyn Read> = match path {
            Some(path) => Box::new(File::open(path).with_context(|| format!("opening {}", path.display()))?),
            None => Box::new(io::stdin()),
        };
        if args.whole {
            let mut message = Vec::new();
            input.take(LINE_BYTES_MAX).read_to_end(&mut message)?;
            return Ok(Source::Arguments { messages: vec![message], count: 1, next: 0, numbered: false });
        }
        Ok(Source::Lines(BufReader::new(input)))
    }

    /// How many there will be, if that is known.
    pub fn len(&self) -> Option<u64> {
        match self {
            Source::Arguments { count, .. } => Some(*count),
            Source::Lines(_) => None,
        }
    }

    /// Whether the next message may have to be waited for, for instance because somebody types it: then what is
    /// buffered goes out first.
    pub fn may_wait(&self) -> bool {
        match self {
            Source::Arguments { .. } => false,
            Source::Lines(input) => !input.buffer().contains(&b'\n'),
        }
    }

    /// Whether there may be long pauses between messages.
    pub fn is_live(&self) -> bool {
        matches!(self, Source::Lines(_))
    }

    /// The next message, without its line end.
    pub fn next(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        match self {
            Source::Arguments { messages, count, next, numbered } => {
                if next == count {
                    return Ok(None);
                }
                let template = &messages[(*next % messages.len() as u64) as usize];
                *next += 1;
                Ok(Some(if *numbered { number(template, *next) } else { template.clone() }))
            }
            Source::Lines(input) => {
                let mut line = Vec::new();
                let read = input.take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
                if read == 0 {
                    return Ok(None);
                }
                if line.last() == Some(&b'\n') {
                    line.pop();
                } else if read as u64 == LINE_BYTES_MAX {
                    bail!("a line of more than {LINE_BYTES_MAX} octets");
                }
                Ok(Some(line))
            }
        }
    }
}

/// Puts the number where the template says `{n}`.
fn number(template: &[u8], number: u64) -> Vec<u8> {
    const MARK: &[u8] = b"{n}";
    let mut out = Vec::with_capacity(template.len() + 8);
    let mut rest = template;
    while let Some(at) = rest.windows(MARK.len()).position(|window| window == MARK) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(number.to_string().as_bytes());
        rest = &rest[at + MARK.len()..];
    }
    out.extend_from_slice(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_everything_but_their_end() {
        let mut source = Source::Lines(BufReader::new(Box::new(&b"one\n\ntwo \r\nthree"[..])));
        let mut lines = Vec::new();
        while let Some(line) = source.next().unwrap() {
            lines.push(String::from_utf8(line).unwrap());
        }
        assert_eq!(lines, ["one", "", "two \r", "three"]);
    }

    #[test]
    fn arguments_repeat_and_count() {
        let messages = vec![b"a{n}-{n}".to_vec(), b"b".to_vec()];
        let mut source = Source::Arguments { messages, count: 3, next: 0, numbered: true };
        let mut seen = Vec::new();
        while let Some(message) = source.next().unwrap() {
            seen.push(String::from_utf8(message).unwrap());
        }
        assert_eq!(seen, ["a1-1", "b", "a3-3"]);
    }
}
