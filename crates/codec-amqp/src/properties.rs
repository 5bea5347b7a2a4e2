//! The property block of a message: two octets of flags, then the properties whose flag is set, in order.
//!
//! [`Properties`] is a validated view of the block as it was received. The block itself is what is stored and
//! forwarded; getters find their property by walking from the front, because hardly anybody asks. The two that
//! decide how a message is treated, delivery mode and priority, are read during validation.
//!
//! ```text
//! bit 15 content_type   11 priority         7 message_id   3 app_id
//!     14 content_enc.   10 correlation_id   6 timestamp    2 cluster_id
//!     13 headers         9 reply_to         5 type         1 unused
//!     12 delivery_mode   8 expiration       4 user_id      0 another flag word follows (never in 0-9-1)
//! ```

use crate::error::DecodeError;
use crate::table::{FieldTable, TableRef};
use crate::wire::{Reader, ShortStr, put_long_str, put_short_str, put_u16, put_u64};

const CONTENT_TYPE: u16 = 1 << 15;
const CONTENT_ENCODING: u16 = 1 << 14;
const HEADERS: u16 = 1 << 13;
const DELIVERY_MODE: u16 = 1 << 12;
const PRIORITY: u16 = 1 << 11;
const CORRELATION_ID: u16 = 1 << 10;
const REPLY_TO: u16 = 1 << 9;
const EXPIRATION: u16 = 1 << 8;
const MESSAGE_ID: u16 = 1 << 7;
const TIMESTAMP: u16 = 1 << 6;
const TYPE: u16 = 1 << 5;
const USER_ID: u16 = 1 << 4;
const APP_ID: u16 = 1 << 3;
const CLUSTER_ID: u16 = 1 << 2;
const UNKNOWN: u16 = 0b11;

/// A property block that is known to be well formed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Properties<'a> {
    raw: &'a [u8],
    flags: u16,
    delivery_mode: u8,
    priority: u8,
}

impl<'a> Properties<'a> {
    /// No properties at all.
    pub const EMPTY: Properties<'static> =
        Properties { raw: &[0, 0], flags: 0, delivery_mode: 0, priority: 0 };

    /// Validates a whole block, flags first; nothing may be left over.
    #[inline]
    pub fn parse(raw: &'a [u8]) -> Result<Properties<'a>, DecodeError> {
        let mut r = Reader::new(raw);
        let flags = r.u16()?;
        let mut properties = Properties { raw, flags, delivery_mode: 0, priority: 0 };
        if flags & UNKNOWN != 0 {
            return Err(DecodeError::UnknownProperty(flags));
        }
        if flags & !DELIVERY_MODE == 0 {
            // The two blocks that nearly every message has: nothing, or the delivery mode alone.
            if flags != 0 {
                properties.delivery_mode = r.u8()?;
            }
        } else {
            properties.check(&mut r)?;
        }
        r.finish()?;
        Ok(properties)
    }

    fn check(&mut self, r: &mut Reader<'a>) -> Result<(), DecodeError> {
        let flags = self.flags;
        let mut left = flags;
        while left != 0 {
            let bit = 1 << (15 - left.leading_zeros());
            left &= !bit;
            match bit {
                HEADERS => {
                    r.table()?;
                }
                DELIVERY_MODE => self.delivery_mode = r.u8()?,
                PRIORITY => self.priority = r.u8()?,
                TIMESTAMP => {
                    r.u64()?;
                }
                _ => {
                    r.short_str()?;
                }
            }
        }
        Ok(())
    }

    /// The block as received, flags included.
    #[inline]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.raw
    }

    /// Whether any property is there that a broker may have to act on, the delivery mode aside: headers, priority,
    /// reply-to, expiration, user-id. Most messages have none.
    #[inline]
    pub fn ask_for_something(&self) -> bool {
        self.flags & (HEADERS | PRIORITY | REPLY_TO | EXPIRATION | USER_ID) != 0
    }

    pub fn content_type(&self) -> Option<ShortStr<'a>> {
        self.text(CONTENT_TYPE)
    }

    pub fn content_encoding(&self) -> Option<ShortStr<'a>> {
        self.text(CONTENT_ENCODING)
    }

    pub fn headers(&self) -> Option<TableRef<'a>> {
        self.find(HEADERS)?.table().ok()
    }

    /// 1 is transient, 2 persistent.
    #[inline]
    pub fn delivery_mode(&self) -> Option<u8> {
        (self.flags & DELIVERY_MODE != 0).then_some(self.delivery_mode)
    }

    /// Whether the publisher asked for persistence: delivery mode 2 and nothing else, as RabbitMQ reads it.
    #[inline]
    pub fn is_persistent(&self) -> bool {
        self.delivery_mode == 2
    }

    #[inline]
    pub fn priority(&self) -> Option<u8> {
        (self.flags & PRIORITY != 0).then_some(self.priority)
    }

    pub fn correlation_id(&self) -> Option<ShortStr<'a>> {
        self.text(CORRELATION_ID)
    }

    pub fn reply_to(&self) -> Option<ShortStr<'a>> {
        self.text(REPLY_TO)
    }

    /// Time to live in milliseconds, in decimal digits when the publisher kept to the rules.
    pub fn expiration(&self) -> Option<ShortStr<'a>> {
        self.text(EXPIRATION)
    }

    pub fn message_id(&self) -> Option<ShortStr<'a>> {
        self.text(MESSAGE_ID)
    }

    /// Seconds since 1970, as the publisher says.
    pub fn timestamp(&self) -> Option<u64> {
        self.find(TIMESTAMP)?.u64().ok()
    }

    /// The property called `type`.
    pub fn message_type(&self) -> Option<ShortStr<'a>> {
        self.text(TYPE)
    }

    pub fn user_id(&self) -> Option<ShortStr<'a>> {
        self.text(USER_ID)
    }

    pub fn app_id(&self) -> Option<ShortStr<'a>> {
        self.text(APP_ID)
    }

    pub fn cluster_id(&self) -> Option<ShortStr<'a>> {
        self.text(CLUSTER_ID)
    }

    pub fn to_owned(&self) -> OwnedProperties {
        let text = |value: Option<ShortStr<'_>>| value.map(|text| text.as_bytes().to_vec());
        OwnedProperties {
            content_type: text(self.content_type()),
            content_encoding: text(self.content_encoding()),
            headers: self.headers().map(TableRef::to_owned),
            delivery_mode: self.delivery_mode(),
            priority: self.priority(),
            correlation_id: text(self.correlation_id()),
            reply_to: text(self.reply_to()),
            expiration: text(self.expiration()),
            message_id: text(self.message_id()),
            timestamp: self.timestamp(),
            message_type: text(self.message_type()),
            user_id: text(self.user_id()),
            app_id: text(self.app_id()),
            cluster_id: text(self.cluster_id()),
        }
    }

    #[inline]
    fn text(&self, flag: u16) -> Option<ShortStr<'a>> {
        self.find(flag)?.short_str().ok()
    }

    /// A reader that stands at the property of that flag. Reads succeed: the block was validated.
    #[inline]
    fn find(&self, flag: u16) -> Option<Reader<'a>> {
        if self.flags & flag == 0 {
            return None;
        }
        let mut r = Reader::new(&self.raw[2..]);
        // All flags above `flag`, that is, the properties that stand before it.
        let mut before = self.flags & !(flag | (flag - 1));
        while before != 0 {
            let bit = 1 << (15 - before.leading_zeros());
            before &= !bit;
            match bit {
                HEADERS => drop(r.long_str().ok()?),
                DELIVERY_MODE | PRIORITY => drop(r.u8().ok()?),
                TIMESTAMP => drop(r.u64().ok()?),
                _ => drop(r.short_str().ok()?),
            }
        }
        Some(r)
    }
}

/// Properties to be written, borrowed. Strings longer than 255 octets are cut.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PropertyParts<'a> {
    pub content_type: Option<&'a [u8]>,
    pub content_encoding: Option<&'a [u8]>,
    /// Contents of a field table, without its length: what [`TableRef::as_bytes`] gives.
    pub headers: Option<&'a [u8]>,
    pub delivery_mode: Option<u8>,
    pub priority: Option<u8>,
    pub correlation_id: Option<&'a [u8]>,
    pub reply_to: Option<&'a [u8]>,
    pub expiration: Option<&'a [u8]>,
    pub message_id: Option<&'a [u8]>,
    pub timestamp: Option<u64>,
    pub message_type: Option<&'a [u8]>,
    pub user_id: Option<&'a [u8]>,
    pub app_id: Option<&'a [u8]>,
    pub cluster_id: Option<&'a [u8]>,
}

impl PropertyParts<'_> {
    /// Appends the block, flags first.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        put_u16(out, 0);
        let mut flags = 0;
        let mut text = |out: &mut Vec<u8>, flag: u16, value: Option<&[u8]>| {
            if let Some(bytes) = value {
                flags |= flag;
                put_short_str(out, ShortStr::new(&bytes[..bytes.len().min(255)]).unwrap_or_default());
            }
        };
        text(out, CONTENT_TYPE, self.content_type);
        text(out, CONTENT_ENCODING, self.content_encoding);
        if let Some(headers) = self.headers {
            put_long_str(out, headers);
        }
        out.extend(self.delivery_mode);
        out.extend(self.priority);
        text(out, CORRELATION_ID, self.correlation_id);
        text(out, REPLY_TO, self.reply_to);
        text(out, EXPIRATION, self.expiration);
        text(out, MESSAGE_ID, self.message_id);
        if let Some(seconds) = self.timestamp {
            put_u64(out, seconds);
        }
        text(out, TYPE, self.message_type);
        text(out, USER_ID, self.user_id);
        text(out, APP_ID, self.app_id);
        text(out, CLUSTER_ID, self.cluster_id);
        let others = [
            (HEADERS, self.headers.is_some()),
            (DELIVERY_MODE, self.delivery_mode.is_some()),
            (PRIORITY, self.priority.is_some()),
            (TIMESTAMP, self.timestamp.is_some()),
        ];
        flags |= others.iter().filter(|(_, set)| *set).fold(0, |flags, (flag, _)| flags | flag);
        out[start..start + 2].copy_from_slice(&flags.to_be_bytes());
    }
}

/// Properties to be written, owned. See [`PropertyParts`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OwnedProperties {
    pub content_type: Option<Vec<u8>>,
    pub content_encoding: Option<Vec<u8>>,
    pub headers: Option<FieldTable>,
    pub delivery_mode: Option<u8>,
    pub priority: Option<u8>,
    pub correlation_id: Option<Vec<u8>>,
    pub reply_to: Option<Vec<u8>>,
    pub expiration: Option<Vec<u8>>,
    pub message_id: Option<Vec<u8>>,
    pub timestamp: Option<u64>,
    pub message_type: Option<Vec<u8>>,
    pub user_id: Option<Vec<u8>>,
    pub app_id: Option<Vec<u8>>,
    pub cluster_id: Option<Vec<u8>>,
}

impl OwnedProperties {
    /// Appends the block, flags first.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let headers = self.headers.as_ref().map(FieldTable::to_bytes);
        let parts = PropertyParts {
            content_type: self.content_type.as_deref(),
            content_encoding: self.content_encoding.as_deref(),
            headers: headers.as_deref(),
            delivery_mode: self.delivery_mode,
            priority: self.priority,
            correlation_id: self.correlation_id.as_deref(),
            reply_to: self.reply_to.as_deref(),
            expiration: self.expiration.as_deref(),
            message_id: self.message_id.as_deref(),
            timestamp: self.timestamp,
            message_type: self.message_type.as_deref(),
            user_id: self.user_id.as_deref(),
            app_id: self.app_id.as_deref(),
            cluster_id: self.cluster_id.as_deref(),
        };
        parts.encode(out);
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32);
        self.encode(&mut out);
        out
    }
}
