//! What is said between worker, nursery and reader.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use crate::{How, Limits};

/// Goes to the nursery with the reader's end of a socket, in one datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    pub how: How,
    pub limits: Limits,
    /// Bytes of the document that follow on that socket.
    pub length: u64,
}

const REQUEST: usize = 6 * 8;

impl Request {
    fn to_bytes(self) -> [u8; REQUEST] {
        let how = match self.how {
            How::Auto => 0,
            How::Text => 1,
        };
        let millis = u64::try_from(self.limits.time.as_millis()).unwrap_or(u64::MAX);
        let fields = [how, self.limits.size, self.limits.text, self.limits.memory, millis, self.length];
        let mut bytes = [0; REQUEST];
        for (place, field) in bytes.chunks_exact_mut(8).zip(fields) {
            place.copy_from_slice(&field.to_ne_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8; REQUEST]) -> Request {
        let mut fields =
            bytes.chunks_exact(8).map(|field| u64::from_ne_bytes(field.try_into().expect("eight bytes")));
        let mut next = || fields.next().unwrap_or_default();
        Request {
            how: if next() == 1 { How::Text } else { How::Auto },
            limits: Limits {
                size: next(),
                text: next(),
                memory: next(),
                time: Duration::from_millis(next()),
            },
            length: next(),
        }
    }
}

/// One tag, then what belongs to it. A text says how long it is: one that was cut off is none.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    Text(String),
    Unreadable(String),
    OutOfMemory,
    OutOfTime,
    Crashed,
    NoProcess,
}

pub const TEXT: u8 = b'T';
pub const UNREADABLE: u8 = b'U';
pub const OUT_OF_MEMORY: u8 = b'M';
pub const OUT_OF_TIME: u8 = b'C';
pub const CRASHED: u8 = b'S';
pub const NO_PROCESS: u8 = b'F';

/// Reasons are sentences.
const LONGEST_REASON: usize = 4096;

pub fn longest_answer(limits: &Limits) -> usize {
    usize::try_from(limits.text).unwrap_or(usize::MAX).max(LONGEST_REASON).saturating_add(64)
}

impl Answer {
    pub fn parse(bytes: &[u8]) -> Option<Answer> {
        let (tag, rest) = bytes.split_first()?;
        let said = || {
            let (length, text) = rest.split_first_chunk::<8>()?;
            let text = (u64::from_ne_bytes(*length) == text.len() as u64).then_some(text)?;
            String::from_utf8(text.to_vec()).ok()
        };
        match *tag {
            TEXT => said().map(Answer::Text),
            UNREADABLE => said().map(Answer::Unreadable),
            OUT_OF_MEMORY => Some(Answer::OutOfMemory),
            OUT_OF_TIME => Some(Answer::OutOfTime),
            CRASHED => Some(Answer::Crashed),
            NO_PROCESS => Some(Answer::NoProcess),
            _ => None,
        }
    }

    pub fn explain(&self, limits: &Limits) -> String {
        match self {
            Answer::OutOfMemory => {
                format!("reading the document takes more than {} MB of memory", limits.memory / (1024 * 1024))
            }
            Answer::OutOfTime => format!("reading the document takes longer than {:?}", limits.time),
            Answer::Crashed => {
                "the document is nested too deep, or its reader cannot cope with it".to_owned()
            }
            Answer::Text(_) | Answer::Unreadable(_) | Answer::NoProcess => String::new(),
        }
    }
}

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A pair of sockets that keep the bounds of messages, so that threads may share an end.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: two descriptors are written into an array of two; they are owned below.
    checked(unsafe {
        libc::socketpair(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC, 0, ends.as_mut_ptr())
    })?;
    // SAFETY: just made, and nobody else's.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// True once the other end is closed.
pub fn is_closed(socket: RawFd) -> bool {
    let mut looked_at = libc::pollfd { fd: socket, events: 0, revents: 0 };
    // SAFETY: one entry, which lives through the call; it does not wait.
    let found = unsafe { libc::poll(&raw mut looked_at, 1, 0) };
    found > 0 && looked_at.revents & (libc::POLLHUP | libc::POLLERR) != 0
}

/// Room for a control message with one descriptor, aligned as its header wants it.
#[repr(C, align(8))]
struct Control([u8; 64]);

/// Sends a request and a copy of `descriptor`.
pub fn send(control: RawFd, request: &Request, descriptor: RawFd) -> io::Result<()> {
    let mut bytes = request.to_bytes();
    let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let mut room = Control([0; 64]);
    // SAFETY: the message points to buffers that live through the call; CMSG_SPACE of one
    // descriptor is 24 bytes, so header and descriptor lie within `room`.
    unsafe {
        let mut message: libc::msghdr = zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = room.0.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(size_of::<RawFd>() as u32) as _;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(size_of::<RawFd>() as u32) as _;
        libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(descriptor);
        loop {
            if libc::sendmsg(control, &raw const message, libc::MSG_NOSIGNAL) >= 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
}

/// The next request and the descriptor that came with it; None at the end, or for what is none.
pub fn receive(control: RawFd) -> io::Result<Option<(Request, OwnedFd)>> {
    let mut bytes = [0u8; REQUEST];
    let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let mut room = Control([0; 64]);
    // SAFETY: as in `send`; the kernel writes within the buffers and sets the lengths that the
    // macros read.
    unsafe {
        let mut message: libc::msghdr = zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = room.0.as_mut_ptr().cast();
        message.msg_controllen = room.0.len() as _;
        let received = libc::recvmsg(control, &raw mut message, libc::MSG_CMSG_CLOEXEC);
        if received < 0 {
            return Err(io::Error::last_os_error());
        }
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        if header.is_null() || (*header).cmsg_type != libc::SCM_RIGHTS {
            return Ok(None);
        }
        let descriptor = OwnedFd::from_raw_fd(libc::CMSG_DATA(header).cast::<RawFd>().read_unaligned());
        Ok((received as usize == REQUEST).then(|| (Request::from_bytes(&bytes), descriptor)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_arrives_as_it_was_sent() {
        let (a, b) = pair().unwrap();
        use std::os::fd::AsRawFd;
        let limits = Limits { size: 1, text: 2, memory: u64::MAX, time: Duration::from_millis(1234) };
        let request = Request { how: How::Text, limits, length: 77 };
        send(a.as_raw_fd(), &request, b.as_raw_fd()).unwrap();
        let (received, _descriptor) = receive(b.as_raw_fd()).unwrap().unwrap();
        assert_eq!(received, request);
        assert!(!is_closed(b.as_raw_fd()));
        drop(a);
        assert!(receive(b.as_raw_fd()).unwrap().is_none(), "the other end is closed");
    }

    #[test]
    fn an_answer_that_was_cut_off_is_none() {
        let mut bytes = vec![TEXT];
        bytes.extend(3u64.to_ne_bytes());
        bytes.extend(b"abc");
        assert_eq!(Answer::parse(&bytes), Some(Answer::Text("abc".to_owned())));
        assert_eq!(Answer::parse(&bytes[..bytes.len() - 1]), None);
        assert_eq!(Answer::parse(&[]), None);
    }
}
