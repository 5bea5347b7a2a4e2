//! A TCP connection whose every wait has a limit.
//!
//! The socket never blocks in the kernel's send or receive; waiting is a separate `ppoll`, which has nanosecond
//! timeouts (a receive timeout has ticks of the scheduler) and can wait for both directions. While data flows, a
//! read is one system call.

use std::io::{self, IoSlice, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::error::{Error, Result};

#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
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
                    stream.set_nonblocking(true)?;
                    return Ok(Socket { stream });
                }
                Err(error) => last = error,
            }
        }
        Err(failed(last))
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Appends what is there to `buf`'s spare capacity.
    pub fn recv(&self, buf: &mut Vec<u8>) -> Result<Moved> {
        debug_assert!(
            buf.capacity() > buf.len(),
            "reading into nothing would look like the end of the stream"
        );
        loop {
            match recv(&self.stream, spare_capacity(buf), RecvFlags::DONTWAIT) {
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
            match (&self.stream).write_vectored(slices) {
                Ok(written) => return Ok(Moved::Bytes(written)),
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => continue,
                    io::ErrorKind::WouldBlock => return Ok(Moved::NotNow),
                    io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => return Err(Error::Closed),
                    _ => return Err(error.into()),
                },
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
