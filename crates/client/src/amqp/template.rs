//! A publish whose frames are built once and copied for every message: the load generator's writer.

use bowline_codec_amqp::frame::{FRAME_OVERHEAD, body_frame_max, encode_body_frames, encode_header_frame};
use bowline_codec_amqp::methods::BasicPublish;
use bowline_codec_amqp::{EncodeMethod, OwnedProperties, ShortStr};

use super::Publish;

/// All frames of one message, with a body in which the first octets are to be filled in.
#[derive(Clone, Debug)]
pub struct Template {
    frames: Vec<u8>,
    body_at: usize,
    /// Octets of the body that lie together from `body_at` on.
    first_piece: usize,
}

impl Template {
    pub fn new(channel: u16, publish: &Publish<'_>, body: &[u8], frame_max: u32) -> Template {
        let mut frames = Vec::new();
        put_publish(&mut frames, channel, publish, body.len() as u64, &publish.properties.to_bytes());
        let body_at = frames.len() + FRAME_OVERHEAD - 1;
        encode_body_frames(&mut frames, channel, body, frame_max);
        Template { frames, body_at, first_piece: body.len().min(body_frame_max(frame_max)) }
    }

    /// Octets on the wire.
    pub fn wire_len(&self) -> usize {
        self.frames.len()
    }

    /// Appends the message with `head` as the body's first octets. Returns where in `out` it begins.
    ///
    /// # Panics
    /// When the body's first frame is shorter than `head`.
    pub fn append(&self, out: &mut Vec<u8>, head: &[u8]) -> usize {
        assert!(head.len() <= self.first_piece, "the head must fit in the body's first frame");
        let begin = out.len();
        let start = begin + self.body_at;
        out.extend_from_slice(&self.frames);
        out[start..start + head.len()].copy_from_slice(head);
        begin
    }

    /// Where `octets` lie in the message for the first time, for those who put others in their place.
    pub fn position(&self, octets: &[u8]) -> Option<usize> {
        self.frames.windows(octets.len()).position(|found| found == octets)
    }
}

/// Appends the method and header frames of a publish.
pub(super) fn put_publish(
    out: &mut Vec<u8>,
    channel: u16,
    publish: &Publish<'_>,
    body_size: u64,
    properties: &[u8],
) {
    let method = BasicPublish {
        exchange: ShortStr::truncated(publish.exchange),
        routing_key: ShortStr::truncated(publish.routing_key),
        mandatory: publish.mandatory,
        immediate: false,
    };
    method.encode_frame(channel, out);
    encode_header_frame(out, channel, body_size, properties);
}

impl Publish<'_> {
    /// Delivery mode 2 or 1, and nothing else.
    pub fn delivery_mode(persistent: bool) -> OwnedProperties {
        OwnedProperties { delivery_mode: Some(if persistent { 2 } else { 1 }), ..Default::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_codec_amqp::{ContentHeader, FrameKind, Method, split_frame};

    #[test]
    fn a_template_is_a_publish() {
        let properties = Publish::delivery_mode(true);
        let publish = Publish { exchange: "x", routing_key: "key", mandatory: true, properties: &properties };
        let body = vec![9; 5000];
        let template = Template::new(3, &publish, &body, 4096);
        let mut out = vec![0xAA];
        template.append(&mut out, &[1, 2, 3]);
        let mut rest = &out[1..];
        let mut kinds = Vec::new();
        let mut read = Vec::new();
        while let Some((frame, len)) = split_frame(rest, 4096).unwrap() {
            kinds.push(frame.kind);
            assert_eq!(frame.channel, 3);
            match frame.kind {
                FrameKind::Method => {
                    let Method::BasicPublish(method) = Method::decode(frame.payload).unwrap() else {
                        panic!()
                    };
                    assert_eq!((method.routing_key, method.mandatory), (ShortStr::truncated("key"), true));
                }
                FrameKind::Header => {
                    let header = ContentHeader::decode(frame.payload).unwrap();
                    assert_eq!((header.body_size, header.properties.delivery_mode()), (5000, Some(2)));
                }
                _ => read.extend_from_slice(frame.payload),
            }
            rest = &rest[len..];
        }
        assert!(rest.is_empty());
        assert_eq!(kinds.len(), 4);
        assert_eq!((&read[..4], read.len()), (&[1, 2, 3, 9][..], 5000));
        assert_eq!(template.wire_len(), out.len() - 1);
    }
}
