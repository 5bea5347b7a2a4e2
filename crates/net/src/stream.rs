//! A client's socket, encrypted or not: sessions read and write octets and need not know which.
//!
//! Nothing here waits but what says so by being `async`. An encrypted stream may hold octets that the socket did not
//! take yet: whoever writes asks [`Stream::is_flushed`] and comes back when the socket has room.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use crate::encrypted::Encrypted;
use crate::tls::Identity;

pub enum Stream {
    Plain(TcpStream),
    Tls(Box<Encrypted>),
}

impl Stream {
    /// Reads as much as there is and as fits; nothing at all means that the peer has closed.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Plain(tcp) => Pin::new(tcp).poll_read(cx, room),
            Stream::Tls(encrypted) => encrypted.poll_read(cx, room),
        }
    }

    /// Reads into the spare capacity; `WouldBlock` when there is nothing to read now, 0 when the peer has closed.
    pub fn try_read_buf(&mut self, into: &mut BytesMut) -> io::Result<usize> {
        match self {
            Stream::Plain(tcp) => tcp.try_read_buf(into),
            Stream::Tls(encrypted) => {
                // SAFETY: `ReadBuf` initialises what it counts as filled, and no more is advanced.
                let mut room = ReadBuf::uninit(unsafe { into.chunk_mut().as_uninit_slice_mut() });
                encrypted.try_read(&mut room)?;
                let read = room.filled().len();
                // SAFETY: so many octets were filled just now.
                unsafe { into.advance_mut(read) };
                Ok(read)
            }
        }
    }

    /// When there may be something to read. May be true too early.
    pub async fn readable(&self) -> io::Result<()> {
        match self {
            Stream::Plain(tcp) => tcp.readable().await,
            Stream::Tls(encrypted) if encrypted.has_input() => Ok(()),
            Stream::Tls(encrypted) => encrypted.socket().readable().await,
        }
    }

    /// When the socket has room.
    pub async fn writable(&self) -> io::Result<()> {
        self.socket().writable().await
    }

    /// As [`Stream::writable`], polled.
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_write_ready(cx)
    }

    /// Takes octets as far as there is room; `WouldBlock` when there is none.
    pub fn try_write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Stream::Plain(tcp) => tcp.try_write_vectored(slices),
            Stream::Tls(encrypted) => encrypted.try_write_vectored(slices),
        }
    }

    /// Whether the socket has all that was written.
    pub fn is_flushed(&self) -> bool {
        match self {
            Stream::Plain(_) => true,
            Stream::Tls(encrypted) => encrypted.is_flushed(),
        }
    }

    /// Gives the socket what it takes now of what was written.
    pub fn try_flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(_) => Ok(()),
            Stream::Tls(encrypted) => encrypted.try_flush(),
        }
    }

    /// Says that nothing more will be written, after everything that was. What is read from then on are the peer's last
    /// octets: read it until it ends with [`Stream::discard`].
    pub async fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(tcp) => tcp.shutdown().await,
            Stream::Tls(encrypted) => encrypted.shutdown().await,
        }
    }

    /// Reads until the peer closes, and forgets it: a socket closed with unread input would take back what was sent.
    pub async fn discard(&mut self) -> io::Result<()> {
        let tcp = match self {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(encrypted) => encrypted.socket_mut(),
        };
        let mut sink = [0; 4096];
        while tcp.read(&mut sink).await? > 0 {}
        Ok(())
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket().local_addr()
    }

    /// Who the client's certificate says it is, if it has shown one that we trust.
    pub fn identity(&self) -> Option<&Identity> {
        match self {
            Stream::Plain(_) => None,
            Stream::Tls(encrypted) => encrypted.identity(),
        }
    }

    fn socket(&self) -> &TcpStream {
        match self {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(encrypted) => encrypted.socket(),
        }
    }
}
