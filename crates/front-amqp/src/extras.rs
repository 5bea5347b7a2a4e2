//! What the properties and headers of a message ask of the broker, beyond being kept: see [`Extras`].
//!
//! ```text
//! priority, expiration              properties
//! x-delay                           milliseconds; integers of any width, decimal text, or a float
//! x-deliver-at                      a timestamp (seconds) or milliseconds since 1970
//! ```
//! What further a queue's arguments and policies name is read for that queue alone: [`bowline_convert::Wants`].
//! A delay that is not a number, or not above 0, is none: so does the delayed-message plugin of RabbitMQ.

use bowline_codec_amqp::{Properties, ShortStr, TableRef, Value};
use bowline_model::extras::Extras;

use crate::refusal::{Refusal, Step};

/// Header: milliseconds that the message is to wait.
pub const DELAY: &str = "x-delay";

/// What a message's properties ask for.
#[derive(Default)]
pub struct Asked {
    pub extras: Extras,
    /// It has CC or BCC.
    pub has_copies: bool,
    /// Its reply-to is the pseudo-queue of direct replies.
    pub fast_reply: bool,
}

impl Asked {
    /// Reads what a property block asks for. Call it only if [`Properties::ask_for_something`].
    ///
    /// # Errors
    /// 406 for an expiration that is no time, and for another's user-id.
    pub fn read(properties: &Properties<'_>, user: &str, may_impersonate: bool) -> Step<Asked> {
        let mut asked = Asked::default();
        asked.extras.priority = properties.priority();
        if let Some(expiration) = properties.expiration() {
            asked.extras.ttl_ms = Some(read_expiration(expiration)?);
        }
        if let Some(claimed) = properties.user_id()
            && claimed != *user
            && !may_impersonate
        {
            return Err(Refusal::precondition(format!(
                "user_id property set to '{claimed}' but authenticated user was '{user}'"
            )));
        }
        asked.fast_reply = properties.reply_to().is_some_and(|name| name == crate::replies::PSEUDO_QUEUE);
        if let Some(headers) = properties.headers() {
            asked.read_headers(headers);
        }
        Ok(asked)
    }

    /// The message is kept with the properties that came, and goes where its routing key says.
    pub fn changes_nothing(&self) -> bool {
        !self.has_copies && !self.fast_reply && self.extras.delay_ms.is_none()
    }

    fn read_headers(&mut self, headers: TableRef<'_>) {
        for (name, value) in headers.iter() {
            match name.as_bytes() {
                b"CC" | b"BCC" => self.has_copies = true,
                name if name == DELAY.as_bytes() => self.extras.delay_ms = read_delay(value),
                b"x-deliver-at" => self.extras.deliver_at = read_time(value),
                _ => {}
            }
        }
    }
}

/// A whole number of milliseconds in decimal digits. The texts behind the colon are those of RabbitMQ, which reads
/// numbers as Erlang does.
fn read_expiration(expiration: ShortStr<'_>) -> Step<u64> {
    let text = expiration.to_string();
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(&text);
    let digits = unsigned.len() - unsigned.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, left) = text.split_at(text.len() - unsigned.len() + digits);
    let error = if digits == 0 {
        "no_integer".to_string()
    } else if !left.is_empty() {
        format!("{{leftover_string,\"{left}\"}}")
    } else if number.starts_with('-') && number.bytes().any(|digit| (b'1'..=b'9').contains(&digit)) {
        format!("{{value_negative,{number}}}")
    } else {
        match number.trim_start_matches(['+', '-']).parse() {
            Ok(ms) => return Ok(ms),
            Err(_) => format!("{{value_too_big,{number}}}"),
        }
    };
    Err(Refusal::precondition(format!("invalid expiration '{text}': {error}")))
}

fn read_delay(value: Value<'_>) -> Option<u64> {
    let ms = match value {
        Value::LongStr(text) => std::str::from_utf8(text).ok()?.trim().parse().ok()?,
        Value::F32(ms) => ms as i64,
        Value::F64(ms) => ms as i64,
        value => value.as_i64()?,
    };
    u64::try_from(ms).ok().filter(|ms| *ms > 0)
}

/// Milliseconds since 1970.
fn read_time(value: Value<'_>) -> Option<u64> {
    let ms = match value {
        Value::Timestamp(seconds) => return Some(seconds.saturating_mul(1000)),
        Value::LongStr(text) => std::str::from_utf8(text).ok()?.trim().parse().ok()?,
        value => value.as_i64()?,
    };
    u64::try_from(ms).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_codec_amqp::{FieldTable, FieldValue, OwnedProperties};

    fn properties(expiration: &str) -> Vec<u8> {
        OwnedProperties { expiration: Some(expiration.into()), ..Default::default() }.to_bytes()
    }

    fn with_header(name: &str, value: impl Into<FieldValue>) -> Vec<u8> {
        let headers = FieldTable::new().with(name, value);
        OwnedProperties { headers: Some(headers), ..Default::default() }.to_bytes()
    }

    fn asked(block: &[u8]) -> Step<Extras> {
        let properties = Properties::parse(block).unwrap();
        assert!(properties.ask_for_something());
        Asked::read(&properties, "ann", false).map(|asked| asked.extras)
    }

    #[test]
    fn expirations() {
        for (text, ms) in [("0", 0), ("1000", 1000), ("+7", 7), ("-0", 0), ("007", 7)] {
            assert_eq!(asked(&properties(text)).unwrap().ttl_ms, Some(ms), "{text}");
        }
        assert_eq!(asked(&properties("18446744073709551615")).unwrap().ttl_ms, Some(u64::MAX));
        for (text, error) in [
            ("soon", "no_integer"),
            ("", "no_integer"),
            ("-", "no_integer"),
            ("12ms", "{leftover_string,\"ms\"}"),
            ("1.5", "{leftover_string,\".5\"}"),
            ("-1", "{value_negative,-1}"),
            ("99999999999999999999", "{value_too_big,99999999999999999999}"),
        ] {
            let expected = format!("PRECONDITION_FAILED - invalid expiration '{text}': {error}");
            assert_eq!(asked(&properties(text)).unwrap_err().text, expected);
        }
    }

    #[test]
    fn delays_of_any_width_and_nothing_else() {
        let numbers = [
            FieldValue::I8(5),
            FieldValue::U8(5),
            FieldValue::I16(5),
            FieldValue::I32(5),
            FieldValue::U32(5),
            FieldValue::I64(5),
            FieldValue::F64(5.5),
            FieldValue::from("5"),
        ];
        for number in numbers {
            assert_eq!(
                asked(&with_header("x-delay", number.clone())).unwrap().delay_ms,
                Some(5),
                "{number:?}"
            );
        }
        for none in [FieldValue::I32(0), (-5i64).into(), "soon".into(), FieldValue::Void, true.into()] {
            assert_eq!(asked(&with_header("x-delay", none.clone())).unwrap().delay_ms, None, "{none:?}");
        }
        let at = asked(&with_header("x-deliver-at", FieldValue::Timestamp(7))).unwrap();
        assert_eq!(at.deliver_at, Some(7000));
        assert_eq!(asked(&with_header("x-deliver-at", 7000i64)).unwrap().deliver_at, Some(7000));
    }
}
