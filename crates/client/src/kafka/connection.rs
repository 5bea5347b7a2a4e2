//! One connection to one broker: versions, correlation, frames.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};

use bowline_codec_kafka::api_key::ApiKey;
use bowline_codec_kafka::frame::{FRAME_BYTES_MAX, decode_response_head, write_request};
use bowline_codec_kafka::messages::{ApiVersionsRequest, ApiVersionsResponse};
use bowline_codec_kafka::{Message, Reader, Request, Writer};

use super::check;
use crate::error::{Error, Result};
use crate::socket::{Moved, Socket};

const SIZE_BYTES: usize = 4;
const INBOX_START: usize = 16 << 10;
/// What a reader may allocate for one response besides the record bytes, which are slices of the frame.
const DECODE_MEMORY_MAX: usize = 256 << 20;
/// `writev` takes that many slices at a time (IOV_MAX).
const SLICES_MAX: usize = 1024;

/// The newest version that this client uses of each API: the last one that speaks of topics by name and of one
/// group at a time, which is all that the tools need. `joins`: partitions and groups join a transaction by what is
/// sent to them, and each transaction has an epoch (KIP-890).
const fn newest_version(api: ApiKey, joins: bool) -> i16 {
    match api {
        ApiKey::Produce if joins => 12,
        ApiKey::EndTxn if joins => 5,
        ApiKey::TxnOffsetCommit if joins => 5,
        ApiKey::Produce => 11,
        ApiKey::Fetch => 12,
        ApiKey::ListOffsets => 7,
        ApiKey::Metadata => 9,
        ApiKey::OffsetCommit => 8,
        ApiKey::OffsetFetch => 7,
        ApiKey::FindCoordinator => 3,
        ApiKey::JoinGroup => 7,
        ApiKey::DeleteTopics => 5,
        ApiKey::ApiVersions => 3,
        ApiKey::InitProducerId => 4,
        // Before KIP-890: partitions are added by the client and an epoch lasts.
        ApiKey::AddPartitionsToTxn => 3,
        ApiKey::EndTxn => 4,
        ApiKey::TxnOffsetCommit => 4,
        _ => i16::MAX,
    }
}

/// How a transactional producer speaks, by the level of the feature `transaction.version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TxnVersion {
    /// Partitions and groups are added before they are written to, and an epoch lasts (KIP-98).
    #[default]
    One,
    /// They join by being written to, and each transaction has an epoch of its own (KIP-890).
    Two,
}

/// An open Kafka connection. One thread, one connection.
#[derive(Debug)]
pub struct Connection {
    socket: Socket,
    client_id: String,
    timeout: Duration,
    /// What the broker offers: API key, first and last version.
    offered: Vec<(i16, i16, i16)>,
    /// The level of the feature `transaction.version` in the cluster.
    transaction_level: i16,
    transactions: TxnVersion,
    out: Writer,
    inbox: Vec<u8>,
    /// Octets of the inbox that were handed out already.
    taken: usize,
    in_flight: VecDeque<InFlight>,
    next_correlation_id: i32,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    correlation_id: i32,
    api: ApiKey,
    version: i16,
}

impl Connection {
    /// Connects and asks for the versions.
    pub fn open(address: &str, client_id: &str, timeout: Duration) -> Result<Connection> {
        let mut connection = Connection {
            socket: Socket::connect(address, timeout)?,
            client_id: client_id.to_owned(),
            timeout,
            offered: Vec::new(),
            transaction_level: 0,
            transactions: TxnVersion::One,
            out: Writer::new(),
            inbox: Vec::with_capacity(INBOX_START),
            taken: 0,
            in_flight: VecDeque::new(),
            next_correlation_id: 1,
        };
        connection.negotiate()?;
        Ok(connection)
    }

    /// A broker that does not know version 3 of ApiVersions answers in version 0 with code 35 (KIP-511).
    fn negotiate(&mut self) -> Result<()> {
        const UNSUPPORTED_VERSION: i16 = 35;
        let request = ApiVersionsRequest {
            client_software_name: "bowline-client".into(),
            client_software_version: env!("CARGO_PKG_VERSION").into(),
            ..Default::default()
        };
        self.offered = vec![(ApiKey::ApiVersions as i16, 0, 3)];
        self.send(&request)?;
        let (version, mut body) = self.receive_body(self.timeout)?.ok_or(Error::Timeout("ApiVersions"))?;
        let refused = body.rest().starts_with(&UNSUPPORTED_VERSION.to_be_bytes());
        let mut response = ApiVersionsResponse::decode(&mut body, if refused { 0 } else { version })?;
        if refused {
            self.offered = vec![(ApiKey::ApiVersions as i16, 0, 0)];
            response = self.call(&ApiVersionsRequest::default())?;
        }
        check("ApiVersions", response.error_code)?;
        self.offered =
            response.api_keys.iter().map(|row| (row.api_key, row.min_version, row.max_version)).collect();
        let level = response.finalized_features.iter().find(|feature| feature.name == "transaction.version");
        self.transaction_level = level.map_or(0, |feature| feature.max_version_level);
        Ok(())
    }

    /// How this connection speaks of transactions from now on: as wanted, if the broker can.
    pub fn speak_transactions(&mut self, version: TxnVersion) -> TxnVersion {
        self.transactions = if self.transaction_level >= 2 { version } else { TxnVersion::One };
        self.transactions
    }

    /// The version in which we and the broker speak an API.
    pub fn version<R: Request>(&self) -> Result<i16> {
        let unsupported = Error::Unsupported(R::NAME);
        let Some(api) = ApiKey::from_i16(R::KEY) else { return Err(unsupported) };
        let Some((_, first, last)) = self.offered.iter().find(|(key, _, _)| *key == R::KEY) else {
            return Err(unsupported);
        };
        let joins = self.transactions == TxnVersion::Two;
        let version = newest_version(api, joins).min(*last).min(*R::VERSIONS.end());
        if version < *first || version < *R::VERSIONS.start() { Err(unsupported) } else { Ok(version) }
    }

    /// The socket, for those who want to hurt it.
    pub fn stream(&self) -> &std::net::TcpStream {
        self.socket.stream()
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Requests that were not answered yet.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Buffers a request.
    pub fn send<R: Request>(&mut self, request: &R) -> Result<()> {
        let (api, version) = self.write(request)?;
        self.in_flight.push_back(InFlight { correlation_id: self.next_correlation_id, api, version });
        self.next_correlation_id = self.next_correlation_id.wrapping_add(1);
        Ok(())
    }

    /// Buffers a request that gets no answer: a Produce with acks=0.
    pub fn send_unanswered<R: Request>(&mut self, request: &R) -> Result<()> {
        self.write(request)?;
        self.next_correlation_id = self.next_correlation_id.wrapping_add(1);
        Ok(())
    }

    fn write<R: Request>(&mut self, request: &R) -> Result<(ApiKey, i16)> {
        let version = self.version::<R>()?;
        let api = ApiKey::from_i16(R::KEY).ok_or(Error::Unsupported(R::NAME))?;
        write_request(&mut self.out, version, self.next_correlation_id, Some(&self.client_id), request)?;
        Ok((api, version))
    }

    /// Writes everything that is buffered. A broker that answers instead of reading is given time, up to the
    /// timeout: answers are small against what a client keeps in flight.
    pub fn flush(&mut self) -> Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let mut segments: VecDeque<Bytes> = self.out.take_segments().into();
        let deadline = Instant::now() + self.timeout;
        while !segments.is_empty() {
            let slices: Vec<IoSlice<'_>> =
                segments.iter().take(SLICES_MAX).map(|part| IoSlice::new(part)).collect();
            match self.socket.send_vectored(&slices)? {
                Moved::Bytes(written) => advance(&mut segments, written),
                Moved::NotNow => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() || !self.socket.wait_writable(left)? {
                        return Err(Error::Timeout("the broker does not read"));
                    }
                }
            }
        }
        Ok(())
    }

    /// Sends what is buffered and gives the answer to the oldest request, which must have been an `R`; waits up to
    /// `wait` for it.
    pub fn receive<R: Request>(&mut self, wait: Duration) -> Result<Option<R::Response>> {
        self.flush()?;
        if self.in_flight.front().is_some_and(|oldest| oldest.api as i16 != R::KEY) {
            return Err(Error::Protocol(format!("the oldest request in flight is no {}", R::NAME)));
        }
        let Some((version, mut body)) = self.receive_body(wait)? else { return Ok(None) };
        let response = R::Response::decode(&mut body, version)?;
        body.expect_end()?;
        Ok(Some(response))
    }

    /// One request, one answer, within the connection's timeout. Nothing else may be in flight.
    pub fn call<R: Request>(&mut self, request: &R) -> Result<R::Response> {
        self.call_within(request, self.timeout)
    }

    /// As [`call`](Connection::call), for requests on which a broker sits.
    pub fn call_within<R: Request>(&mut self, request: &R, wait: Duration) -> Result<R::Response> {
        if !self.in_flight.is_empty() {
            return Err(Error::Protocol(format!("{} while other requests are in flight", R::NAME)));
        }
        self.send(request)?;
        self.receive::<R>(wait)?.ok_or(Error::Timeout(R::NAME))
    }

    /// The body of the answer to the oldest request, and the version that it is in.
    fn receive_body(&mut self, wait: Duration) -> Result<Option<(i16, Reader)>> {
        self.flush()?;
        let deadline = Instant::now() + wait;
        let mut left = wait;
        let frame = loop {
            if let Some(frame) = self.take_frame()? {
                break frame;
            }
            self.make_room()?;
            let moved = self.socket.recv_within(&mut self.inbox, left)?;
            left = deadline.saturating_duration_since(Instant::now());
            if moved == Moved::NotNow && left.is_zero() {
                return Ok(None);
            }
        };
        let Some(request) = self.in_flight.pop_front() else {
            return Err(Error::Protocol("an answer to no request".into()));
        };
        let mut reader = Reader::with_memory_limit(frame, DECODE_MEMORY_MAX);
        let correlation_id = decode_response_head(&mut reader, request.api, request.version)?;
        if correlation_id != request.correlation_id {
            let expected = request.correlation_id;
            return Err(Error::Protocol(format!("answer {correlation_id} where {expected} was due")));
        }
        Ok(Some((request.version, reader)))
    }

    /// The next whole frame. One that fills the inbox exactly, as a large answer does, is handed over without a
    /// copy.
    fn take_frame(&mut self) -> Result<Option<Bytes>> {
        let held = &self.inbox[self.taken..];
        let Some(size) = frame_size(held)? else { return Ok(None) };
        let Some(frame) = held.get(SIZE_BYTES..SIZE_BYTES + size) else { return Ok(None) };
        if self.taken == 0 && held.len() == SIZE_BYTES + size && size >= INBOX_START / 2 {
            let whole = std::mem::replace(&mut self.inbox, Vec::with_capacity(INBOX_START));
            return Ok(Some(Bytes::from(whole).slice(SIZE_BYTES..)));
        }
        let frame = Bytes::copy_from_slice(frame);
        self.taken += SIZE_BYTES + size;
        if self.taken == self.inbox.len() {
            self.inbox.clear();
            self.taken = 0;
        }
        Ok(Some(frame))
    }

    /// Capacity for the rest of the frame under way and, where there is none, for the next.
    fn make_room(&mut self) -> Result<()> {
        let size = frame_size(&self.inbox[self.taken..])?.unwrap_or(0);
        let held = self.inbox.len() - self.taken;
        let missing = (SIZE_BYTES + size).saturating_sub(held).max(1);
        if self.inbox.capacity() - self.inbox.len() >= missing {
            return Ok(());
        }
        let mut roomy = Vec::with_capacity((held + missing).max(INBOX_START));
        roomy.extend_from_slice(&self.inbox[self.taken..]);
        self.inbox = roomy;
        self.taken = 0;
        Ok(())
    }
}

fn frame_size(held: &[u8]) -> Result<Option<usize>> {
    let Some(prefix) = held.first_chunk::<SIZE_BYTES>() else { return Ok(None) };
    match usize::try_from(i32::from_be_bytes(*prefix)) {
        Ok(size) if size <= FRAME_BYTES_MAX => Ok(Some(size)),
        _ => Err(Error::Protocol("an answer with an impossible size: is this Kafka?".into())),
    }
}

fn advance(segments: &mut VecDeque<Bytes>, mut written: usize) {
    while let Some(front) = segments.front_mut() {
        if written < front.len() {
            front.advance(written);
            return;
        }
        written -= front.len();
        segments.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_writes_advance_over_segments() {
        let mut segments: VecDeque<Bytes> = [&b"ab"[..], b"cde", b"f"].map(Bytes::from_static).into();
        advance(&mut segments, 3);
        assert_eq!(segments, [Bytes::from_static(b"de"), Bytes::from_static(b"f")]);
        advance(&mut segments, 3);
        assert!(segments.is_empty());
    }

    #[test]
    fn sizes_are_checked() {
        assert!(matches!(frame_size(&[0, 0, 1]), Ok(None)));
        assert!(matches!(frame_size(&[0, 0, 1, 0, 9]), Ok(Some(256))));
        assert!(frame_size(b"AMQP").is_err());
        assert!(frame_size(&[0xff; 4]).is_err());
    }
}
