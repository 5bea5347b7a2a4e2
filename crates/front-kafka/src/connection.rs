//! The thin shell around a socket: bytes to frames, session to link, segments to vectored writes.
//!
//! One task owns socket, session and link; there is no lock and no hand-over. What is bounded here: the read buffer
//! grows only as bytes arrive, large requests draw on a budget of the whole listener, reading stops while the session
//! has enough to do or the peer does not take its answers, and a peer that stops in the middle is let go.

use crate::options::{LARGE_REQUEST_BYTES, Limits, Options};
use crate::passwords::Passwords;
use crate::pending::Closed;
use crate::session::{Now, Session};
use bowline_codec_kafka::frame::FrameSplitter;
use bowline_model::Token;
use bowline_model::event::Event;
use bowline_net::{Shutdown, Stream};
use bowline_replica::Link;
use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

/// Room that is offered to a read when nothing is known about what comes.
const READ_BYTES: usize = 16 * 1024;
/// Room that is offered at most at a time, to peers that fill what they are offered. The size that a request claims
/// for itself makes no difference before the bytes are there.
const READ_BYTES_MAX: usize = 256 * 1024;
/// A connection on which nothing moved for this long gives its read buffer back.
const BUFFER_KEPT: Duration = Duration::from_secs(1);
/// Segments in one vectored write.
const WRITE_SLICES_MAX: usize = 64;
/// Unit of the budget for large requests, bytes (a semaphore counts in 32 bits at a time).
const BUDGET_UNIT: usize = 1024;
/// What is ready is still written to a connection that is being closed, for this long at most.
const FAREWELL: Duration = Duration::from_secs(5);

/// Bytes as units of the budget for large requests.
pub fn budget_units(bytes: usize) -> usize {
    bytes.div_ceil(BUDGET_UNIT)
}

/// How a connection came to its end.
#[derive(Debug)]
pub enum Ended {
    ByPeer,
    Closed(Closed),
    Io(io::Error),
    Idle,
    /// The peer stopped in the middle of a request, or does not take its answers.
    Stalled,
    /// Has to log in and has not, in time.
    NotLoggedIn,
}

/// Runs the connection until it ends; never fails, only tells how it went.
pub async fn run(
    stream: Stream,
    session: Session,
    link: Link,
    options: Options,
    large_requests: Arc<Semaphore>,
    shutdown: Shutdown,
) -> Ended {
    let now = Instant::now();
    let limits = options.limits;
    let is_stranger = session.must_log_in();
    let mut connection = Connection {
        stream,
        session,
        link,
        splitter: FrameSplitter::new(match is_stranger {
            true => limits.login_request_bytes_max,
            false => limits.request_bytes_max,
        }),
        is_stranger,
        began: now,
        passwords: options.authentication.passwords,
        check: None,
        limits,
        large_requests,
        permit: None,
        input: BytesMut::new(),
        has_buffer: false,
        read_bytes: READ_BYTES,
        output: VecDeque::new(),
        output_bytes: 0,
        events: Vec::new(),
        moved: now,
        sniffed: false,
    };
    connection.run(shutdown).await
}

struct Connection {
    stream: Stream,
    session: Session,
    link: Link,
    limits: Limits,
    splitter: FrameSplitter,
    large_requests: Arc<Semaphore>,
    /// For the large request that is being received or served.
    permit: Option<OwnedSemaphorePermit>,
    input: BytesMut,
    /// `input` has memory, even if it is empty.
    has_buffer: bool,
    /// What the next read offers.
    read_bytes: usize,
    output: VecDeque<Bytes>,
    output_bytes: usize,
    events: Vec<Event>,
    /// Has to log in and has not.
    is_stranger: bool,
    began: Instant,
    passwords: Arc<Passwords>,
    /// The password that is being checked.
    check: Option<(Token, JoinHandle<bool>)>,
    /// When a byte was last read or written.
    moved: Instant,
    /// The first bytes were looked at and may be Kafka.
    sniffed: bool,
}

/// What the next wake-up is for.
enum Woken {
    Readable,
    Writable,
    Events,
    Timer,
    Budget(OwnedSemaphorePermit),
    /// A password is right or not.
    Checked(bool),
    Stop,
}

impl Connection {
    async fn run(&mut self, mut shutdown: Shutdown) -> Ended {
        let timer = tokio::time::sleep(self.limits.idle);
        tokio::pin!(timer);
        let mut stopping = false;
        loop {
            if let Err(error) = self.work() {
                return Ended::Io(error);
            }
            if self.session.closed().is_some() {
                return self.farewell().await;
            }
            let deadline = self.deadline();
            // A timer that fires too early is cheaper than one that is moved with every request.
            if deadline < timer.deadline().into_std() || timer.is_elapsed() {
                timer.as_mut().reset(deadline.into());
            }
            let (reads, writes, wants_budget) = (self.may_read(), self.has_output(), self.wanted_budget());
            let check = &mut self.check;
            let woken = tokio::select! {
                () = self.link.wait() => Woken::Events,
                ready = self.stream.readable(), if reads => match ready {
                    Ok(()) => Woken::Readable,
                    Err(error) => return Ended::Io(error),
                },
                ready = self.stream.writable(), if writes => match ready {
                    Ok(()) => Woken::Writable,
                    Err(error) => return Ended::Io(error),
                },
                permit = self.large_requests.clone().acquire_many_owned(wants_budget), if wants_budget > 0 => {
                    Woken::Budget(permit.expect("the semaphore is never closed"))
                }
                Some(is_right) = checked(check), if check.is_some() => Woken::Checked(is_right),
                () = &mut timer => Woken::Timer,
                _ = shutdown.wait_for(|stop| *stop), if !stopping => Woken::Stop,
            };
            match woken {
                // `work` looks at all of these anyway.
                Woken::Events | Woken::Writable => {}
                Woken::Readable => match self.read() {
                    Ok(0) => return Ended::ByPeer,
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Ended::Io(error),
                },
                Woken::Budget(more) => match &mut self.permit {
                    Some(held) => held.merge(more),
                    None => self.permit = Some(more),
                },
                Woken::Checked(is_right) => {
                    if let Some((token, _)) = self.check.take() {
                        self.session.checked(token, is_right, now());
                    }
                }
                Woken::Timer => {
                    if let Some(ended) = self.out_of_time() {
                        return ended;
                    }
                    self.trim();
                    self.session.expire(now());
                }
                Woken::Stop => {
                    stopping = true;
                    self.session.stop(now());
                }
            }
        }
    }

    /// Does everything that can be done without waiting.
    fn work(&mut self) -> io::Result<()> {
        loop {
            self.take_events();
            let frames = self.take_frames();
            self.send_requests();
            self.output_bytes += self.session.take_ready(&mut self.output);
            self.write()?;
            // Answers that left may have made room for requests that are here already.
            if !frames || self.session.closed().is_some() {
                self.release_budget();
                return Ok(());
            }
        }
    }

    fn take_events(&mut self) {
        if !self.link.take(&mut self.events) {
            return;
        }
        let now = now();
        for event in self.events.drain(..) {
            self.session.event(event, now);
        }
    }

    /// Gives the session the requests that have arrived whole, as long as it may have more. True if there were some.
    fn take_frames(&mut self) -> bool {
        if self.input.is_empty() || !self.has_room() {
            return false;
        }
        if !self.sniffed && self.input.len() >= 4 {
            self.sniffed = true;
            if let Some(protocol) = foreign(&self.input) {
                self.session.refuse(Closed::NotKafka(protocol));
                return false;
            }
        }
        let now = now();
        let mut any = false;
        while self.has_room() {
            if self.is_stranger && !self.session.must_log_in() {
                self.is_stranger = false;
                self.splitter = FrameSplitter::new(self.limits.request_bytes_max);
            }
            match self.splitter.next_frame(&mut self.input) {
                Ok(Some(frame)) => {
                    any = true;
                    self.session.frame(frame, now);
                }
                Ok(None) => break,
                Err(error) => {
                    self.session.refuse(Closed::TooLarge { size: error.size, max: error.max });
                    return any;
                }
            }
        }
        any
    }

    fn has_room(&self) -> bool {
        self.session.closed().is_none()
            // Whoever has to log in does one thing at a time.
            && (!self.session.must_log_in() || self.session.unanswered_requests() == 0)
            && self.session.muted_until().is_none_or(|until| until <= Instant::now())
            && self.session.unanswered_bytes() < self.limits.unanswered_bytes_max
            && self.session.unanswered_requests() < self.limits.unanswered_requests_max
            && self.output_bytes < self.limits.unsent_bytes_max
    }

    /// Size of the request at the front, if it is large and has not arrived whole.
    fn large_request(&self) -> Option<usize> {
        let missing = self.splitter.missing_bytes(&self.input).unwrap_or(0);
        let size = self.input.len() + missing;
        (missing > 0 && size >= LARGE_REQUEST_BYTES).then_some(size)
    }

    /// Units of budget that are still needed before the request at the front is read on.
    fn wanted_budget(&self) -> u32 {
        let Some(size) = self.large_request() else { return 0 };
        let all = budget_units(size).min(budget_units(self.limits.large_requests_bytes_max));
        let held = self.permit.as_ref().map_or(0, |permit| permit.num_permits());
        all.saturating_sub(held) as u32
    }

    /// Gives the budget back when no large request is being received or served.
    fn release_budget(&mut self) {
        if self.permit.is_some() && self.session.unanswered_requests() == 0 && self.large_request().is_none()
        {
            self.permit = None;
        }
    }

    fn may_read(&self) -> bool {
        // A whole request that waits for room is enough.
        self.has_room() && self.wanted_budget() == 0
    }

    fn read(&mut self) -> io::Result<usize> {
        self.input.reserve(self.read_bytes);
        self.has_buffer = true;
        let room = self.input.capacity() - self.input.len();
        let n = self.stream.try_read_buf(&mut self.input)?;
        self.moved = Instant::now();
        if n == room {
            self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
        } else if n < self.read_bytes / 4 {
            self.read_bytes = (self.read_bytes / 2).max(READ_BYTES);
        }
        Ok(n)
    }

    fn is_trimmable(&self) -> bool {
        self.has_buffer && self.input.is_empty()
    }

    /// An idle connection holds no buffer.
    fn trim(&mut self) {
        if self.is_trimmable() && self.moved.elapsed() >= BUFFER_KEPT {
            self.input = BytesMut::new();
            self.has_buffer = false;
            self.output.shrink_to_fit();
        }
    }

    fn send_requests(&mut self) {
        let out = self.session.outgoing();
        if let Some((token, check)) = out.check.take() {
            let passwords = self.passwords.clone();
            self.check = Some((token, tokio::spawn(passwords.check(check))));
        }
        if out.requests.is_empty() && out.meta.is_empty() {
            return;
        }
        for (shard, request) in out.requests.drain(..) {
            self.link.send(shard, request);
        }
        for (token, request) in out.meta.drain(..) {
            self.link.ask_meta(token, request);
        }
        self.link.flush();
    }

    /// Writes until everything is out or the socket is full.
    fn write(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            let mut slices = [IoSlice::new(&[]); WRITE_SLICES_MAX];
            let mut count = 0;
            for (slice, segment) in slices.iter_mut().zip(&self.output) {
                *slice = IoSlice::new(segment);
                count += 1;
            }
            match self.stream.try_write_vectored(&slices[..count]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    self.moved = Instant::now();
                    self.written(n);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.stream.try_flush()
    }

    /// The socket has not taken everything yet.
    fn has_output(&self) -> bool {
        !self.output.is_empty() || !self.stream.is_flushed()
    }

    fn written(&mut self, mut n: usize) {
        self.output_bytes -= n;
        while let Some(front) = self.output.front_mut() {
            if n < front.len() {
                front.advance(n);
                return;
            }
            n -= front.len();
            self.output.pop_front();
        }
    }

    /// When something has to happen even if nothing arrives.
    fn deadline(&self) -> Instant {
        let patience = match self.is_midway() {
            true => self.limits.stall,
            false => self.limits.idle,
        };
        let patience = if self.is_trimmable() { patience.min(BUFFER_KEPT) } else { patience };
        let mine = self.moved + patience;
        let mine = match self.session.must_log_in() {
            true => mine.min(self.began + self.limits.login),
            false => mine,
        };
        self.session.deadline().map_or(mine, |theirs| theirs.min(mine))
    }

    /// The peer owes us something: the rest of a request, or room for answers.
    fn is_midway(&self) -> bool {
        self.has_output() || (!self.input.is_empty() && self.may_read())
    }

    fn out_of_time(&mut self) -> Option<Ended> {
        let still = self.moved.elapsed();
        if self.session.must_log_in() && self.began.elapsed() >= self.limits.login {
            if self.check.is_none() {
                return Some(Ended::NotLoggedIn);
            }
            // Many passwords are to be checked: that is not its fault.
            self.began = Instant::now();
        }
        if self.is_midway() {
            return (still >= self.limits.stall).then_some(Ended::Stalled);
        }
        if still < self.limits.idle {
            return None;
        }
        if self.session.unanswered_requests() > 0 {
            // It is our turn, not the peer's: a group may take long to gather.
            self.moved = Instant::now();
            return None;
        }
        Some(Ended::Idle)
    }

    /// Writes what is ready, with patience but not for ever, and says why it ends.
    async fn farewell(&mut self) -> Ended {
        let flush = async {
            while self.has_output() {
                self.stream.writable().await?;
                self.write()?;
            }
            io::Result::Ok(())
        };
        let _ = tokio::time::timeout(FAREWELL, flush).await;
        match self.session.take_closed() {
            Some(reason) => Ended::Closed(reason),
            None => Ended::ByPeer,
        }
    }
}

/// Waits for the check, if there is one. A check that fails opens nothing.
async fn checked(check: &mut Option<(Token, JoinHandle<bool>)>) -> Option<bool> {
    let (_, task) = check.as_mut()?;
    Some(task.await.unwrap_or(false))
}

fn now() -> Now {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { instant: Instant::now(), millis: since_epoch.as_millis() as i64 }
}

/// What speaks here if it is not Kafka. All of these would also fail as a size, but saying what it is helps whoever
/// mixed up two ports.
fn foreign(input: &[u8]) -> Option<&'static str> {
    match input.first_chunk::<4>()? {
        b"AMQP" => Some("this is AMQP"),
        b"GET " | b"POST" | b"PUT " | b"HEAD" | b"OPTI" | b"PRI " | b"DELE" => Some("this is HTTP"),
        b"SSH-" => Some("this is SSH"),
        [0x16, 3, _, _] => Some("this is TLS, which is not served here"),
        _ => None,
    }
}

impl Ended {
    /// A bug of ours rather than anything that the peer did.
    pub fn is_our_fault(&self) -> bool {
        matches!(self, Ended::Closed(Closed::Response { .. } | Closed::Mismatch { .. }))
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::ByPeer => f.write_str("by the peer"),
            Ended::Closed(reason) => write!(f, "{reason}"),
            Ended::Io(error) => write!(f, "{error}"),
            Ended::Idle => f.write_str("idle"),
            Ended::NotLoggedIn => f.write_str("no login in time"),
            Ended::Stalled => f.write_str("stalled in the middle"),
        }
    }
}
