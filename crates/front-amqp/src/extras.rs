//! What the properties and headers of a message ask of the broker, beyond being kept: see [`Extras`].
//!
//! ```text
//! priority, expiration              properties
//! x-delay                           milliseconds; integers of any width, decimal text, or a float
//! x-deliver-at                      a timestamp (seconds) or milliseconds since 1970
//! x-delay-handle                    a name for what waits: see [`Extras::handle`]
//! x-delay-cancel                    the name of what is not to wait any more; the message itself goes nowhere
//! x-schedule                        when copies of it are to be made: see [`bowline_model::schedule`]
//! x-schedule-count, x-schedule-until  how often, and until when
//! ```
//! What further a queue's arguments and policies name is read for that queue alone: [`bowline_convert::Wants`].
//! A delay that is not a number, or not above 0, is none: so does the delayed-message plugin of RabbitMQ.

use bowline_codec_amqp::{Properties, ShortStr, TableRef, Value};
use bowline_convert::hash128;
use bowline_model::extras::Extras;
use bowline_model::schedule::{Recurrence, Schedule};

use crate::refusal::{Refusal, Step};

/// Header: milliseconds that the message is to wait.
pub const DELAY: &str = "x-delay";

/// What a message's properties ask for.
#[derive(Default)]
pub struct Asked {
    pub extras: Extras,
    /// What waits under this handle is not to.
    pub cancel: Option<u128>,
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
            asked.read_headers(headers)?;
        }
        Ok(asked)
    }

    /// The message is kept with the properties that came, and goes where its routing key says.
    pub fn changes_nothing(&self) -> bool {
        !self.has_copies && !self.fast_reply && self.cancel.is_none() && self.extras.delay_ms.is_none()
    }

    fn read_headers(&mut self, headers: TableRef<'_>) -> Step {
        let mut recurs = false;
        for (name, value) in headers.iter() {
            match name.as_bytes() {
                b"CC" | b"BCC" => self.has_copies = true,
                name if name == DELAY.as_bytes() => self.extras.delay_ms = read_delay(value),
                b"x-deliver-at" => self.extras.deliver_at = read_time(value),
                b"x-delay-handle" => self.extras.handle = Some(read_handle("x-delay-handle", value)?),
                b"x-delay-cancel" => self.cancel = Some(read_handle("x-delay-cancel", value)?),
                b"x-schedule" => recurs = true,
                _ => {}
            }
        }
        if recurs {
            self.extras.recurrence = Some(read_recurrence(headers, &self.extras)?);
        }
        Ok(())
    }
}

/// Octets of a handle.
const HANDLE_BYTES_MAX: usize = 255;

fn read_handle(header: &str, value: Value<'_>) -> Step<u128> {
    match value {
        Value::LongStr(name) if (1..=HANDLE_BYTES_MAX).contains(&name.len()) => Ok(hash128(name)),
        Value::LongStr(name) => {
            Err(invalid(header, &format!("expected 1 to {HANDLE_BYTES_MAX} octets, got {}", name.len())))
        }
        _ => Err(invalid(header, "expected a string")),
    }
}

/// Reads `x-schedule` and what goes with it.
#[cold]
fn read_recurrence(headers: TableRef<'_>, others: &Extras) -> Step<Recurrence> {
    let text = match headers.get("x-schedule") {
        Some(Value::LongStr(text)) => std::str::from_utf8(text).ok(),
        _ => None,
    };
    let Some(text) = text else { return Err(invalid("x-schedule", "expected a string")) };
    let schedule = Schedule::parse(text).map_err(|why| invalid("x-schedule", &why))?;
    if others.handle.is_none() {
        return Err(invalid("x-schedule", "it needs a header 'x-delay-handle', by which it can be ended"));
    }
    if others.delay_ms.is_some() || others.deliver_at.is_some() {
        return Err(invalid("x-schedule", "it does not go with 'x-delay' or 'x-deliver-at'"));
    }
    let count = match headers.get("x-schedule-count") {
        None => 0,
        Some(value) => {
            value.as_i64().and_then(|count| u32::try_from(count).ok()).filter(|count| *count > 0).ok_or_else(
                || invalid("x-schedule-count", &format!("expected a number of 1 to {}", u32::MAX)),
            )?
        }
    };
    let until = match headers.get("x-schedule-until") {
        None => 0,
        Some(value) => read_time(value)
            .filter(|until| *until > 0)
            .ok_or_else(|| invalid("x-schedule-until", "expected a timestamp, or milliseconds since 1970"))?,
    };
    Ok(Recurrence { schedule, count, until })
}

fn invalid(header: &str, why: &str) -> Refusal {
    Refusal::precondition(format!("invalid header '{header}': {why}"))
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

    fn with_headers(headers: &[(&str, FieldValue)]) -> Step<Asked> {
        let mut table = FieldTable::new();
        headers.iter().for_each(|(name, value)| table.push(name, value.clone()));
        let block = OwnedProperties { headers: Some(table), ..Default::default() }.to_bytes();
        Asked::read(&Properties::parse(&block).unwrap(), "ann", false)
    }

    #[test]
    fn handles_and_schedules_are_read() {
        let name = || FieldValue::from("order-17");
        let asked = with_headers(&[("x-delay-handle", name()), ("x-delay", 5i64.into())]).unwrap();
        assert_eq!((asked.extras.handle, asked.extras.delay_ms), (Some(hash128(b"order-17")), Some(5)));
        assert!(asked.extras.must_be_logged());
        assert_eq!(with_headers(&[("x-delay-cancel", name())]).unwrap().cancel, Some(hash128(b"order-17")));
        let asked = with_headers(&[
            ("x-schedule", "*/5 * * * mon-fri".into()),
            ("x-schedule-until", FieldValue::Timestamp(7)),
            ("x-schedule-count", FieldValue::I16(3)),
            ("x-delay-handle", name()),
        ]);
        let schedule = Schedule::parse("*/5 * * * 1-5").unwrap();
        assert_eq!(asked.unwrap().extras.recurrence, Some(Recurrence { schedule, count: 3, until: 7000 }));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let every = || ("x-schedule", FieldValue::from("every 1s"));
        let handle = || ("x-delay-handle", FieldValue::from("h"));
        let cases: [(&[(&str, FieldValue)], &str); 12] = [
            (&[("x-delay-handle", 5i64.into())], "'x-delay-handle': expected a string"),
            (&[("x-delay-handle", "".into())], "'x-delay-handle': expected 1 to 255 octets, got 0"),
            (&[("x-delay-cancel", "x".repeat(256).as_str().into())], "expected 1 to 255 octets, got 256"),
            (&[("x-delay-cancel", FieldValue::Void)], "'x-delay-cancel': expected a string"),
            (&[("x-schedule", 5i64.into()), handle()], "'x-schedule': expected a string"),
            (&[("x-schedule", "0 0 30 2 *".into()), handle()], "'x-schedule': no day is like that"),
            (&[("x-schedule", FieldValue::LongStr(vec![255])), handle()], "'x-schedule': expected a string"),
            (&[every()], "needs a header 'x-delay-handle'"),
            (&[every(), handle(), ("x-delay", 5i64.into())], "does not go with 'x-delay'"),
            (&[every(), handle(), ("x-schedule-count", 0i64.into())], "expected a number of 1 to"),
            (&[every(), handle(), ("x-schedule-count", (1i64 << 40).into())], "expected a number of 1 to"),
            (&[every(), handle(), ("x-schedule-until", "soon".into())], "expected a timestamp"),
        ];
        for (headers, expected) in cases {
            let Err(refusal) = with_headers(headers) else { panic!("{expected}") };
            assert!(refusal.text.starts_with("PRECONDITION_FAILED - invalid header"), "{}", refusal.text);
            assert!(refusal.text.contains(expected), "{}", refusal.text);
        }
    }
}
