//! A TCP connection whose every wait has a limit.
//!
//! Reading and waiting is one system call where it can be: long waits use the socket's receive timeout, which has the
//! coarse ticks of the scheduler; short ones a `ppoll`, which has nanoseconds. Writing never blocks in the kernel, so
//! that a peer who waits for us to read cannot hold us up.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg};

use crate::error::{Error, Result};

/// From here on the ticks of a receive timeout do not matter.
const LONG_WAIT: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    /// The receive timeout that the socket has.
    receive_timeout: Cell<Duration>,
}

/// What a non-blocking call met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    Bytes(usize),
    /// Nothing without waiting.
    NotNow,
}

impl Socket {
    /// Tries all addresses that the name stands for, one after the other.
    pub fn connect(address: &str, timeout: Duration) -> Result<Socket> {
        let failed = |source| Error::Connect { address: address.to_owned(), source };
        let deadline = Instant::now() + timeout;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for candidate in address.to_socket_addrs().map_err(failed)? {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            match TcpStream::connect_timeout(&candidate, left) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(Socket { stream, receive_timeout: Cell::new(Duration::ZERO) });
                }
                Err(error) => last = error,
            }
        }
        Err(failed(last))
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Appends what is there to `buf`'s spare capacity, without waiting.
    pub fn recv(&self, buf: &mut Vec<u8>) -> Result<Moved> {
        self.recv_with(buf, RecvFlags::DONTWAIT)
    }

    /// Appends what comes within `wait`.
    pub fn recv_within(&self, buf: &mut Vec<u8>, wait: Duration) -> Result<Moved> {
        if wait < LONG_WAIT {
            let moved = self.recv(buf)?;
            if moved != Moved::NotNow || wait.is_zero() || !self.wait_readable(wait)? {
                return Ok(moved);
            }
            return self.recv(buf);
        }
        if self.receive_timeout.get() != wait {
            self.stream.set_read_timeout(Some(wait))?;
            self.receive_timeout.set(wait);
        }
        self.recv_with(buf, RecvFlags::empty())
    }

    fn recv_with(&self, buf: &mut Vec<u8>, flags: RecvFlags) -> Result<Moved> {
        debug_assert!(
            buf.capacity() > buf.len(),
            "reading into nothing would look like the end of the stream"
        );
        loop {
            match recv(&self.stream, spare_capacity(buf), flags) {
                Ok((0, _)) => return Err(Error::Closed),
                Ok((read, _)) => return Ok(Moved::Bytes(read)),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return Ok(Moved::NotNow),
                Err(errno) => return Err(closed_or(errno)),
            }
        }
    }

    /// Writes what fits.
    pub fn send(&self, bytes: &[u8]) -> Result<Moved> {
        loop {
            match send(&self.stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(written) => return Ok(Moved::Bytes(written)),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return Ok(Moved::NotNow),
                Err(errno) => return Err(closed_or(errno)),
            }
        }
    }

    /// Writes what fits, from several slices.
    pub fn send_vectored(&self, slices: &[IoSlice<'_>]) -> Result<Moved> {
        loop {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match sendmsg(&self.stream, slices, &mut SendAncillaryBuffer::default(), flags) {
                Ok(written) => return Ok(Moved::Bytes(written)),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return Ok(Moved::NotNow),
                Err(errno) => return Err(closed_or(errno)),
            }
        }
    }

    /// Waits until there is something to read. `false`: the time is up.
    pub fn wait_readable(&self, wait: Duration) -> Result<bool> {
        Ok(self.wait(PollFlags::IN, wait)?.is_some())
    }

    /// Waits for room to write or something to read; `None` when the time is up.
    pub fn wait_either(&self, wait: Duration) -> Result<Option<PollFlags>> {
        self.wait(PollFlags::IN | PollFlags::OUT, wait)
    }

    pub fn wait_writable(&self, wait: Duration) -> Result<bool> {
        Ok(self.wait(PollFlags::OUT, wait)?.is_some())
    }

    fn wait(&self, flags: PollFlags, wait: Duration) -> Result<Option<PollFlags>> {
        let mut fds = [PollFd::new(&self.stream, flags)];
        match poll_for(&mut fds, wait)? {
            0 => Ok(None),
            _ => Ok(Some(fds[0].revents())),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Waits until one of the sockets can be read.
pub(crate) fn wait_any_readable(sockets: &[&Socket], wait: Duration) -> Result<bool> {
    let mut fds: Vec<PollFd<'_>> =
        sockets.iter().map(|socket| PollFd::new(&socket.stream, PollFlags::IN)).collect();
    Ok(poll_for(&mut fds, wait)? > 0)
}

/// `poll`, resumed after signals.
fn poll_for(fds: &mut [PollFd<'_>], wait: Duration) -> Result<usize> {
    let deadline = Instant::now() + wait;
    let mut left = wait;
    loop {
        let timeout = Timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos().into() };
        match poll(fds, Some(&timeout)) {
            Ok(ready) => return Ok(ready),
            Err(Errno::INTR) => left = deadline.saturating_duration_since(Instant::now()),
            Err(errno) => return Err(io::Error::from(errno).into()),
        }
    }
}

/// A reset or a broken pipe is how a killed peer closes.
fn closed_or(errno: Errno) -> Error {
    match errno {
        Errno::CONNRESET | Errno::PIPE => Error::Closed,
        other => io::Error::from(other).into(),
    }
}
