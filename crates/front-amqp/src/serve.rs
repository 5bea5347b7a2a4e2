//! Runs a session on a socket: the only part of this crate that waits.
//!
//! A round takes the events of the shards, writes what can be written, and then waits for whatever comes first:
//! events, input, room in the socket, or the session's deadline. Input is read into a buffer that all connections
//! of a thread share, so an idle connection holds none; what is left of a round, the beginning of a frame, is kept
//! by the connection.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bowline_model::event::Event;
use bowline_net::{Limit, Listener, Shutdown, Stream};
use bowline_replica::{Link, Node};
use tokio::io::ReadBuf;
use tokio::time::Sleep;

use crate::options::{HANDSHAKE_MS_MAX, Options, TIDY_BYTES_MIN};
use crate::session::{Now, Peer, Session};

const HANDSHAKE: Duration = Duration::from_millis(HANDSHAKE_MS_MAX);
/// One read takes at most this much.
const READ_BYTES: usize = 256 * 1024;
/// A read always has at least this much room.
const READ_BYTES_MIN: usize = 64 * 1024;
/// Slices of one vectored write.
const SLICES: usize = 64;
/// Memory of a burst is given back after this long without traffic.
const QUIET: Duration = Duration::from_secs(2);
/// A connection that is over may take this long to take its last octets.
const FAREWELL: Duration = Duration::from_secs(5);

thread_local! {
    static READ: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Serves AMQP clients on `listener` until `shutdown`, then until the last connection has ended. Connections end
/// when the node announces its shutdown to their sessions.
pub async fn serve(listener: Listener, node: Node, options: Options, limit: Limit, shutdown: Shutdown) {
    let options = Arc::new(options);
    let handler = move |stream, peer| serve_connection(stream, peer, node.clone(), options.clone());
    bowline_net::serve(listener, limit, shutdown, handler).await;
}

async fn serve_connection(stream: Stream, peer: SocketAddr, node: Node, options: Arc<Options>) {
    let mut connection = Connection::new(stream, peer, &node, options);
    match connection.run().await {
        // Boxed, so that a connection that lives does not hold the room for its end.
        Ok(()) => Box::pin(connection.farewell()).await,
        Err(error) => tracing::debug!(%peer, %error, "AMQP connection lost"),
    }
}

struct Connection {
    stream: Stream,
    link: Link,
    session: Session,
    events: Vec<Event>,
    /// What the session has not used yet.
    carry: Vec<u8>,
    /// The session stopped in the middle of `carry` because of a bound.
    stalled: bool,
    started: Instant,
    active: Instant,
}

/// What ended a wait.
enum Woken {
    Events,
    /// So many octets lie in this thread's buffer, behind room for what is carried. 0: the client has closed.
    Input(usize),
    Writable,
    Time,
}

impl Connection {
    fn new(stream: Stream, peer: SocketAddr, node: &Node, options: Arc<Options>) -> Connection {
        let started = Instant::now();
        let link = node.connect();
        let certified = stream.identity().and_then(|identity| identity.user(options.certificate_user));
        let is_loopback = peer.ip().to_canonical().is_loopback();
        let peer = Peer { address: peer.to_string(), is_loopback, certified };
        // The standard library seeds its hashers from the system's random source.
        let seed = [0, 1].map(|_| RandomState::new().hash_one(link.id().0));
        let session = Session::new(options, peer, node.data_shards(), seed, now(started));
        Connection {
            stream,
            link,
            session,
            events: Vec::new(),
            carry: Vec::new(),
            stalled: false,
            started,
            active: started,
        }
    }

    /// Until the session is over, the client closes, or the socket fails.
    async fn run(&mut self) -> io::Result<()> {
        let timer = tokio::time::sleep(HANDSHAKE);
        tokio::pin!(timer);
        let mut armed = true;
        loop {
            if self.link.take(&mut self.events) {
                self.session.events(&mut self.events, now(self.started), &mut self.link);
                self.link.flush();
            }
            if self.stalled && self.session.wants_input() {
                let carried = std::mem::take(&mut self.carry);
                self.offer(&carried);
            }
            self.write()?;
            if self.session.is_over() {
                return Ok(());
            }
            // An earlier timer may stay: when it fires too early, it is set anew.
            if let Some(deadline) = self.deadline()
                && (deadline < timer.deadline() || !armed)
            {
                timer.as_mut().reset(deadline);
                armed = true;
            }
            match self.wait(armed.then_some(timer.as_mut())).await? {
                Woken::Events | Woken::Writable => {}
                Woken::Input(0) => return Ok(()),
                Woken::Input(n) => self.take_input(n),
                Woken::Time => {
                    armed = false;
                    self.on_time();
                }
            }
        }
    }

    /// Waits for whatever comes first. Input has been read when it returns, so that one system call does.
    async fn wait(&mut self, mut timer: Option<Pin<&mut Sleep>>) -> io::Result<Woken> {
        let wants_input = self.session.wants_input() && !self.stalled;
        let wants_output = !self.session.outbox().is_empty() || !self.stream.is_flushed();
        let events = self.link.wait();
        tokio::pin!(events);
        let (stream, carried) = (&mut self.stream, self.carry.len());
        poll_fn(|cx| {
            if events.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(Woken::Events));
            }
            if wants_input && let Poll::Ready(read) = poll_read(stream, carried, cx) {
                return Poll::Ready(read.map(Woken::Input));
            }
            if wants_output && let Poll::Ready(ready) = stream.poll_write_ready(cx) {
                return Poll::Ready(ready.map(|()| Woken::Writable));
            }
            if let Some(timer) = &mut timer
                && timer.as_mut().poll(cx).is_ready()
            {
                return Poll::Ready(Ok(Woken::Time));
            }
            Poll::Pending
        })
        .await
    }

    /// `n` octets were read into this thread's buffer just now; no other task has run since.
    fn take_input(&mut self, n: usize) {
        self.active = Instant::now();
        let carried = self.carry.len();
        READ.with_borrow_mut(|buffer| {
            if carried + n < self.session.wanted() {
                // A large message that trickles in is not looked at each time, nor moved.
                self.carry.extend_from_slice(&buffer[carried..carried + n]);
                self.session.heard(now(self.started));
            } else if carried <= n {
                buffer[..carried].copy_from_slice(&self.carry);
                self.carry.clear();
                self.offer(&buffer[..carried + n]);
            } else {
                self.carry.extend_from_slice(&buffer[carried..carried + n]);
                let all = std::mem::take(&mut self.carry);
                self.offer(&all);
            }
        });
    }

    /// Offers octets to the session and keeps what it does not use.
    fn offer(&mut self, octets: &[u8]) {
        debug_assert!(self.carry.is_empty());
        let used = self.session.input(octets, now(self.started), &mut self.link);
        self.link.flush();
        self.carry.extend_from_slice(&octets[used..]);
        self.stalled = !self.carry.is_empty() && !self.session.wants_input();
        if self.carry.is_empty() && self.carry.capacity() > TIDY_BYTES_MIN {
            self.carry = Vec::new();
        }
    }

    /// Writes until the socket takes no more.
    fn write(&mut self) -> io::Result<()> {
        while !self.session.outbox().is_empty() {
            self.active = Instant::now();
            let mut slices = [IoSlice::new(&[]); SLICES];
            let used = self.session.outbox().slices(&mut slices);
            let written = match self.stream.try_write_vectored(&slices[..used]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.session.outbox().advance(written);
            self.session.wrote(now(self.started), &mut self.link);
            self.link.flush();
        }
        self.stream.try_flush()
    }

    fn deadline(&mut self) -> Option<tokio::time::Instant> {
        let due = self.session.deadline_ms().map(|ms| self.started + Duration::from_millis(ms));
        let tidy = self.session.is_untidy().then(|| self.active + QUIET);
        due.into_iter().chain(tidy).min().map(tokio::time::Instant::from_std)
    }

    fn on_time(&mut self) {
        self.session.on_time(now(self.started), &mut self.link);
        self.link.flush();
        if self.active.elapsed() >= QUIET {
            self.session.tidy(&mut self.link);
            self.link.flush();
        }
    }

    /// Sends what is left, then lets the client read it: closing a socket with unread input would throw it away.
    async fn farewell(mut self) {
        let goodbye = async {
            while !self.session.outbox().is_empty() {
                self.stream.writable().await?;
                self.write()?;
            }
            self.stream.shutdown().await?;
            self.stream.discard().await
        };
        // Whoever does not read its farewell in time goes without.
        let _ = tokio::time::timeout(FAREWELL, goodbye).await;
    }
}

/// Reads into this thread's buffer, behind room for `carried` octets.
fn poll_read(stream: &mut Stream, carried: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    READ.with_borrow_mut(|buffer| {
        let size = READ_BYTES.max(carried + READ_BYTES_MIN);
        if buffer.len() < size {
            buffer.resize(size, 0);
        }
        let mut room = ReadBuf::new(&mut buffer[carried..]);
        match stream.poll_read(cx, &mut room) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(room.filled().len())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    })
}

fn now(started: Instant) -> Now {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { elapsed_ms: started.elapsed().as_millis() as u64, unix_ms: unix.as_millis() as u64 }
}
