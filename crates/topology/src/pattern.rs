//! Regular expressions from operators, in permissions and policies.
//!
//! The engine takes time linear in its input, whatever the pattern; what it does not know (look-around,
//! back-references) is refused when the pattern is set. As in RabbitMQ a pattern matches anywhere in the name, and
//! the empty one matches the empty name alone.

use crate::refusal::refuse;
use bowline_model::meta::{Reason, Rejection};
use regex::{Regex, RegexBuilder};

/// Octets of a pattern.
const PATTERN_BYTES_MAX: usize = 4096;
/// Of the compiled form. `\w{1000}` and its like end here.
const COMPILED_BYTES_MAX: usize = 512 * 1024;

#[derive(Clone, Debug)]
pub(crate) struct Pattern(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Any,
    /// The empty name.
    Empty,
    Regex(Regex),
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
            text => match RegexBuilder::new(text).size_limit(COMPILED_BYTES_MAX).build() {
                Ok(regex) => Kind::Regex(regex),
                Err(error) => {
                    let problem = format!("invalid regular expression '{text}': {error}");
                    return Err(refuse(Reason::InvalidArgument, problem));
                }
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
            Kind::Regex(regex) => regex.is_match(name),
        }
    }
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
    fn names_are_taken_literally() {
        let pattern = Pattern::known(&expanded("^{username}.{vhost}", "a.c", "/"));
        assert!(pattern.matches("a.c./") && !pattern.matches("abc./"));
    }
}
