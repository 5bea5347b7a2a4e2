//! Regular expressions from operators, in permissions and policies.
//!
//! The engine takes time linear in its input, whatever the pattern; what it does not know (look-around,
//! back-references) is refused when the pattern is set. As in RabbitMQ a pattern matches anywhere in the name, and
//! the empty one matches the empty name alone.
//!
//! Most patterns are a literal beginning (`^team-a\.`): those are compared, not compiled. Thousands of them then cost
//! little memory, and little time whenever a queue is declared. Others that begin literally are run on names that do.

use crate::refusal::refuse;
use bowline_model::meta::{Reason, Rejection};
use regex::{Regex, RegexBuilder};

/// Octets of a pattern.
const PATTERN_BYTES_MAX: usize = 4096;
/// Of the compiled form. `\w{1000}` and its like end here.
const COMPILED_BYTES_MAX: usize = 512 * 1024;
/// What a pattern keeps to be quick; without it, it would be slower.
const CACHE_BYTES_MAX: usize = 128 * 1024;

#[derive(Clone, Debug)]
pub(crate) struct Pattern(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Any,
    /// The empty name.
    Empty,
    /// No operators but for what holds it in place.
    Literal {
        text: Box<str>,
        from_start: bool,
        to_end: bool,
    },
    Regex {
        regex: Regex,
        /// What every match begins with, the name's beginning; often empty.
        begin: Box<str>,
    },
}

impl Pattern {
    /// InvalidArgument if it is none.
    pub fn new(text: &str) -> Result<Pattern, Rejection> {
        let kind = match text {
            ".*" | "^.*" | ".*$" | "^.*$" => Kind::Any,
            "" | "^$" => Kind::Empty,
            text if text.len() > PATTERN_BYTES_MAX => {
                let problem = format!("regular expression is longer than {PATTERN_BYTES_MAX} octets");
                return Err(refuse(Reason::InvalidArgument, problem));
            }
            text => match literal(text) {
                Some(literal) => literal,
                None => Kind::Regex { regex: compiled(text)?, begin: beginning(text).into() },
            },
        };
        Ok(Pattern(kind))
    }

    /// What was accepted before and cannot be read now (a later engine) matches nothing but the empty name.
    pub fn known(text: &str) -> Pattern {
        Pattern::new(text).unwrap_or(Pattern(Kind::Empty))
    }

    pub fn matches(&self, name: &str) -> bool {
        match &self.0 {
            Kind::Any => true,
            Kind::Empty => name.is_empty(),
            Kind::Literal { text, from_start, to_end } => match (from_start, to_end) {
                (true, true) => name == &**text,
                (true, false) => name.starts_with(&**text),
                (false, true) => name.ends_with(&**text),
                (false, false) => name.contains(&**text),
            },
            Kind::Regex { regex, begin } => name.starts_with(&**begin) && regex.is_match(name),
        }
    }
}

fn compiled(text: &str) -> Result<Regex, Rejection> {
    let regex =
        RegexBuilder::new(text).size_limit(COMPILED_BYTES_MAX).dfa_size_limit(CACHE_BYTES_MAX).build();
    regex.map_err(|error| {
        let problem = format!("invalid regular expression '{text}': {error}");
        refuse(Reason::InvalidArgument, problem)
    })
}

/// The literal beginning of a pattern that is held at the start and has no alternatives.
fn beginning(pattern: &str) -> String {
    let mut begin = String::new();
    let Some(rest) = pattern.strip_prefix('^').filter(|rest| !rest.contains('|') && !rest.contains("(?"))
    else {
        return begin;
    };
    for c in rest.chars() {
        if c.is_alphanumeric() || matches!(c, '-' | '_' | '/' | ':') {
            begin.push(c);
            continue;
        }
        // It is about the character before, which may be missing.
        if matches!(c, '*' | '?' | '{') {
            begin.pop();
        }
        break;
    }
    begin
}

/// Reads `^` literal `$` and `^` literal `.*`, of which all parts may be missing but for the literal.
fn literal(pattern: &str) -> Option<Kind> {
    const OPERATORS: &str = r"\.+*?()|[]{}^$";
    let (from_start, rest) = match pattern.strip_prefix('^') {
        Some(rest) => (true, rest),
        None => (false, pattern),
    };
    let (to_end, rest) = match rest.strip_suffix(".*") {
        // `\.*` is a repeated dot.
        Some(stripped) if !stripped.ends_with('\\') => (false, stripped),
        _ => match rest.strip_suffix('$') {
            Some(stripped) if !stripped.ends_with('\\') => (true, stripped),
            _ => (false, rest),
        },
    };
    let mut text = String::with_capacity(rest.len());
    let mut chars = rest.chars();
    while let Some(c) = chars.next() {
        match c {
            // Escaped punctuation is meant literally, escaped letters and digits are classes and the like.
            '\\' => text.push(chars.next().filter(|c| c.is_ascii_punctuation() && !matches!(c, '<' | '>'))?),
            // A hyphen means something within brackets alone, as do the others of these.
            '-' | '#' | '&' | '~' => text.push(c),
            c if OPERATORS.contains(c) || c.is_control() => return None,
            c => text.push(c),
        }
    }
    // A name has no line breaks, so `.*` matches whatever is left of it.
    (!text.is_empty()).then(|| Kind::Literal { text: text.into(), from_start, to_end })
}

/// `{username}` and `{vhost}` in a topic permission become these, taken literally.
pub(crate) fn expanded(text: &str, user: &str, vhost: &str) -> String {
    text.replace("{username}", &regex::escape(user)).replace("{vhost}", &regex::escape(vhost))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_anywhere_unless_anchored_and_empty_means_empty() {
        let matches = |pattern: &str, name: &str| Pattern::new(pattern).unwrap().matches(name);
        assert!(matches("b", "abc") && !matches("^b", "abc") && matches("^a.*c$", "abc"));
        assert!(matches("", "") && !matches("", "q") && matches(".*", "") && matches(".*", "q"));
    }

    #[test]
    fn hostile_patterns_are_refused_or_harmless() {
        assert!(Pattern::new("(").is_err() && Pattern::new("(?=x)").is_err());
        assert!(Pattern::new(r"((\w{100}){100}){100}").is_err());
        assert!(Pattern::new(&"a".repeat(5000)).is_err());
        assert!(!Pattern::new("^(a+)+$").unwrap().matches(&format!("{}b", "a".repeat(250))));
    }

    #[test]
    fn literals_match_as_their_regular_expressions_do() {
        let patterns = [
            "^a",
            "a$",
            "^a$",
            "a",
            "^a.*",
            "^a\\.b",
            "^a-b.*$",
            "^a.*b",
            "a|b",
            "^(a)",
            r"a\\",
            r"a\.*",
            r"a\$",
            "^a.b",
            "^a[b.]",
            "^ab*$",
            "^ab?c*",
            "^ab{0,2}$",
            "^a+b",
            "^(?i)A",
            "a-",
            "^amq\\.",
            r"^\d",
            r"^\<a",
            "^a#b",
            "a~",
            "^^a",
            "a+",
            "^",
            "$",
            "^.*a",
            "a.*b.*",
            "é",
            "^é.*",
        ];
        let names = [
            "", "a", "b", "ab", "ba", "a.b", "a-b", "a-bc", "xa.b", "a\\", "a$", "a..", "amq.x", "1", "<a",
            "a#b", "a~", "é!",
        ];
        for pattern in patterns {
            let (ours, theirs) = (Pattern::new(pattern), Regex::new(pattern));
            assert_eq!(ours.is_ok(), theirs.is_ok(), "{pattern}");
            let (Ok(ours), Ok(theirs)) = (ours, theirs) else { continue };
            for name in names {
                assert_eq!(ours.matches(name), theirs.is_match(name), "{pattern} on {name}");
            }
        }
        let is_literal = |text: &str| matches!(Pattern::new(text).unwrap().0, Kind::Literal { .. });
        assert!(
            is_literal("^team-a\\.") && is_literal("^q$") && is_literal("^q.*") && !is_literal("^q[0-9]")
        );
    }

    #[test]
    fn names_are_taken_literally() {
        let pattern = Pattern::known(&expanded("^{username}.{vhost}", "a.c", "/"));
        assert!(pattern.matches("a.c./") && !pattern.matches("abc./"));
    }
}
