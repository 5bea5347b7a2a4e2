//! What classic consumers tell each other (`ConsumerProtocolSubscription` and `-Assignment`), which the coordinator
//! reads and writes for them where their group's partitions are assigned by the broker.

use bytes::Bytes;

/// What of a subscription matters here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subscription {
    pub version: i16,
    pub topics: Vec<String>,
    /// From version 1 on; empty before.
    pub owned: Vec<(String, Vec<i32>)>,
}

impl Subscription {
    /// ```text
    /// version i16 | topics [string] | user data nullable bytes | owned [topic string, partitions [i32]] (from 1 on) | …
    /// ```
    pub fn parse(mut metadata: &[u8]) -> Option<Subscription> {
        let input = &mut metadata;
        let version = i16::from_be_bytes(take(input)?);
        if version < 0 {
            return None;
        }
        let topics = array(input, string)?;
        let mut owned = Vec::new();
        if version >= 1 {
            skip_bytes(input)?;
            owned = array(input, |input| Some((string(input)?, array(input, int)?)))?;
        }
        Some(Subscription { version, topics, owned })
    }
}

/// ```text
/// version i16 | partitions [topic string, partitions [i32]] | user data nullable bytes
/// ```
pub fn parse_assignment(mut assignment: &[u8]) -> Option<Vec<(String, Vec<i32>)>> {
    if assignment.is_empty() {
        return Some(Vec::new());
    }
    let input = &mut assignment;
    let version = i16::from_be_bytes(take(input)?);
    if version < 0 { None } else { array(input, |input| Some((string(input)?, array(input, int)?))) }
}

/// All versions so far look the same.
pub fn assignment(version: i16, partitions: &[(&str, Vec<u32>)]) -> Bytes {
    let mut out = version.to_be_bytes().to_vec();
    out.extend((partitions.len() as i32).to_be_bytes());
    for (topic, numbers) in partitions {
        out.extend((topic.len() as i16).to_be_bytes());
        out.extend(topic.as_bytes());
        out.extend((numbers.len() as i32).to_be_bytes());
        numbers.iter().for_each(|number| out.extend((*number as i32).to_be_bytes()));
    }
    out.extend((-1i32).to_be_bytes());
    out.into()
}

/// Every element takes a byte at least, so there cannot be more than there are bytes.
fn array<T>(input: &mut &[u8], mut element: impl FnMut(&mut &[u8]) -> Option<T>) -> Option<Vec<T>> {
    let n = usize::try_from(int(input)?).ok().filter(|n| *n <= input.len())?;
    (0..n).map(|_| element(input)).collect()
}

fn string(input: &mut &[u8]) -> Option<String> {
    let len = usize::try_from(i16::from_be_bytes(take(input)?)).ok()?;
    let text = input.split_off(..len)?;
    std::str::from_utf8(text).ok().map(str::to_owned)
}

fn skip_bytes(input: &mut &[u8]) -> Option<()> {
    match int(input)? {
        -1 => Some(()),
        len => input.split_off(..usize::try_from(len).ok()?).map(|_| ()),
    }
}

fn int(input: &mut &[u8]) -> Option<i32> {
    take(input).map(i32::from_be_bytes)
}

fn take<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (value, rest) = input.split_first_chunk()?;
    *input = rest;
    Some(*value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscriptions_are_read_in_their_versions() {
        let v0 = b"\0\0\0\0\0\x02\0\x01a\0\x02bc\xff\xff\xff\xff";
        let topics = vec!["a".to_owned(), "bc".to_owned()];
        let owned = Vec::new();
        assert_eq!(Subscription::parse(v0), Some(Subscription { version: 0, topics, owned }));
        let v3 = b"\0\x03\0\0\0\x01\0\x01a\0\0\0\x02xy\0\0\0\x01\0\x01a\0\0\0\x02\0\0\0\x05\0\0\0\x07\0\0\0\x09\xff\xff";
        let read = Subscription::parse(v3).unwrap();
        assert_eq!(read.owned, [("a".to_owned(), vec![5, 7])]);
        for cut in 0..v3.len() - 6 {
            assert_eq!(Subscription::parse(&v3[..cut]), None, "{cut}");
        }
        assert_eq!(Subscription::parse(b"\0\x01\x7f\xff\xff\xff\0"), None);
    }

    #[test]
    fn assignments_come_back() {
        let bytes = assignment(3, &[("t", vec![0, 2]), ("u", vec![1])]);
        let read = parse_assignment(&bytes).unwrap();
        assert_eq!(read, [("t".to_owned(), vec![0, 2]), ("u".to_owned(), vec![1])]);
        assert_eq!(parse_assignment(b""), Some(Vec::new()));
        assert_eq!(parse_assignment(&bytes[..7]), None);
    }
}
