//! Opens connections: looks the name up, lets the egress policy drop addresses, connects to
//! exactly the addresses that were checked, and keeps every read and write within the
//! deadline of the call. Knows nothing of HTTP.

use std::{
    fmt,
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs},
    sync::{Arc, Weak, mpsc},
    thread,
    time::Duration,
};

use autovector_domain::failure::Failure;
use ureq::{
    Error, Timeout,
    config::Config,
    http::Uri,
    unversioned::{
        resolver::{ResolvedSocketAddrs, Resolver},
        transport::{
            Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, ShutdownHandle, Transport,
        },
    },
};

use super::call::{self, Phase};
use crate::endpoint::{Endpoint, Reach, SETTING};

/// Finds the addresses of a host. Tests put their own in place of the system's.
pub(crate) type Lookup = Arc<dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

pub(crate) fn system_lookup() -> Lookup {
    Arc::new(|host, port| (host, port).to_socket_addrs().map(Iterator::collect))
}

/// The policy refuses every address that the host has.
#[derive(Debug)]
pub(super) struct Denied(pub(super) Failure);

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Denied {}

fn out_of_time() -> Error {
    Error::Timeout(Timeout::Global)
}

/// Stands in where the library would resolve the name before each request, pooled
/// connection or not. `TcpOpener` resolves instead, once for each connection, so that no
/// address can be used that was not checked.
#[derive(Debug)]
pub(super) struct ResolveLater;

impl Resolver for ResolveLater {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let mut placeholder = self.empty();
        placeholder.push(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0));
        Ok(placeholder)
    }
}

/// Opens TCP connections to one endpoint.
pub(super) struct TcpOpener {
    pub(super) endpoint: Endpoint,
    pub(super) lookup: Lookup,
}

impl fmt::Debug for TcpOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TcpOpener")
    }
}

impl Connector for TcpOpener {
    type Out = Tcp;

    fn connect(&self, details: &ConnectionDetails, _: Option<()>) -> Result<Option<Tcp>, Error> {
        call::opening();
        call::enter(Phase::Resolve);
        let addresses = self.checked_addresses()?;
        call::enter(Phase::Connect);
        let stream = Arc::new(open_one_of(&addresses)?);
        stream.set_nodelay(true)?;
        // Downgraded as itself first: the trait object is made of the weak pointer.
        let handle: Weak<TcpStream> = Arc::downgrade(&stream);
        (details.register_shutdown)(handle as Weak<dyn ShutdownHandle>)?;
        call::enter(Phase::Handshake);
        let (input, output) = (details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Tcp { stream, buffers: LazyBuffers::new(input, output), unwritable: false }))
    }
}

impl TcpOpener {
    fn checked_addresses(&self) -> Result<Vec<SocketAddr>, Error> {
        let (reach, port) = (self.endpoint.reach(), self.endpoint.port());
        let found = match reach {
            Reach::Address(ip) => vec![SocketAddr::new(ip, port)],
            _ => self.resolve(port)?,
        };
        if found.is_empty() {
            return Err(Error::HostNotFound);
        }
        let admitted: Vec<_> = found.iter().copied().filter(|a| reach.admits(a.ip())).collect();
        if admitted.is_empty() {
            return Err(Error::Other(Box::new(Denied(self.denial()))));
        }
        Ok(admitted)
    }

    /// The system's lookup cannot be interrupted, so it runs on a thread of its own that is
    /// left behind when the time is up.
    fn resolve(&self, port: u16) -> Result<Vec<SocketAddr>, Error> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let (lookup, host) = (self.lookup.clone(), self.endpoint.host().to_owned());
        thread::Builder::new().name("autovector dns".into()).spawn(move || {
            // Nobody listens any more once the time is up.
            sender.send(lookup(&host, port)).ok();
        })?;
        match receiver.recv_timeout(call::time_left().ok_or_else(out_of_time)?) {
            Ok(found) => Ok(found?),
            Err(mpsc::RecvTimeoutError::Timeout) => Err(out_of_time()),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(Error::HostNotFound),
        }
    }

    fn denial(&self) -> Failure {
        let (host, origin) = (self.endpoint.host(), self.endpoint.origin());
        match self.endpoint.reach() {
            Reach::Loopback => Failure::config(
                "localhost does not resolve to this machine".to_owned(),
                "Write http://127.0.0.1 in place of http://localhost, or mend the server's name resolution.",
            ),
            Reach::Listed => Failure::config(
                format!(
                    "{host} resolves to an address of this machine or a link-local one, which is not allowed"
                ),
                "Use http://localhost for a provider on this machine.",
            ),
            Reach::Public | Reach::Address(_) => Failure::config(
                format!("{host} resolves to an address that is not public, which a wildcard does not allow"),
                format!("A superuser can add '{origin}' itself to {SETTING}."),
            ),
        }
    }
}

/// Tries the addresses in turn; each gets an equal share of the time that is left.
fn open_one_of(addresses: &[SocketAddr]) -> Result<TcpStream, Error> {
    let mut last = io::Error::from(ErrorKind::ConnectionRefused);
    for (index, address) in addresses.iter().enumerate() {
        let left = call::time_left().ok_or_else(out_of_time)?;
        let share = left / (addresses.len() - index) as u32;
        match TcpStream::connect_timeout(address, share.max(Duration::from_millis(1))) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    match last.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Err(out_of_time()),
        _ => Err(last.into()),
    }
}

/// A TCP connection whose reads and writes end with the deadline of the call, however
/// slowly the other side drips.
pub(super) struct Tcp {
    stream: Arc<TcpStream>,
    buffers: LazyBuffers,
    /// The other side takes no more of the request. It may have answered before that
    /// (413, say), so what was to be sent is dropped and the answer is read.
    unwritable: bool,
}

impl fmt::Debug for Tcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tcp")
    }
}

impl Transport for Tcp {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), Error> {
        let mut rest = &self.buffers.output()[..amount];
        while !rest.is_empty() && !self.unwritable {
            self.stream.set_write_timeout(Some(call::time_left().ok_or_else(out_of_time)?))?;
            match (&*self.stream).write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                    ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => self.unwritable = true,
                    _ => return Err(error.into()),
                },
            }
        }
        Ok(())
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, Error> {
        let buffer = self.buffers.input_append_buf();
        loop {
            self.stream.set_read_timeout(Some(call::time_left().ok_or_else(out_of_time)?))?;
            match (&*self.stream).read(buffer) {
                Ok(read) => {
                    self.buffers.input_appended(read);
                    return Ok(read > 0);
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                    _ => return Err(error.into()),
                },
            }
        }
    }

    /// Asked when a connection is taken from the pool or put back. One that has something
    /// to read is done for: it is the end of the stream, or nobody asked for it.
    fn is_open(&mut self) -> bool {
        if self.unwritable || call::avoids_pool() || self.stream.set_nonblocking(true).is_err() {
            return false;
        }
        let idle = matches!(self.stream.peek(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock);
        idle && self.stream.set_nonblocking(false).is_ok()
    }
}

/// Outermost in the chain: from here on the connection is ready, and what arrives is the
/// answer.
#[derive(Debug)]
pub(super) struct Ready;

impl<In: Transport> Connector<In> for Ready {
    type Out = Counted<In>;

    fn connect(&self, _: &ConnectionDetails, inner: Option<In>) -> Result<Option<Counted<In>>, Error> {
        call::enter(Phase::Exchange);
        Ok(inner.map(Counted))
    }
}

/// Counts the bytes of the answer.
#[derive(Debug)]
pub(super) struct Counted<In>(In);

impl<In: Transport> Transport for Counted<In> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.0.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.0.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let before = self.0.buffers().input().len();
        let progress = self.0.await_input(timeout)?;
        call::count_received(self.0.buffers().input().len().saturating_sub(before));
        Ok(progress)
    }

    fn is_open(&mut self) -> bool {
        self.0.is_open()
    }

    fn is_tls(&self) -> bool {
        self.0.is_tls()
    }
}
