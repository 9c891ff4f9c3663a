//! A scripted HTTP server over plain sockets: each request gets what the test's closure
//! says, however malformed, slow or long. It records what it was asked.

#![allow(dead_code, reason = "each test file uses a part")]

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// What the server was asked.
#[derive(Debug, Clone)]
pub struct Request {
    /// Counts from 0 over all connections.
    pub number: usize,
    /// Which connection it came on, from 0.
    pub connection: usize,
    pub line: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn inputs(&self) -> Vec<String> {
        let json = self.json();
        json["input"].as_array().unwrap().iter().map(|i| i.as_str().unwrap().to_owned()).collect()
    }
}

/// What the server does with a request.
pub enum Reply {
    /// These bytes, and the connection stays open.
    Raw(Vec<u8>),
    /// These bytes, and the connection is closed.
    Last(Vec<u8>),
    /// Nothing at all, until the client has gone.
    Hang,
    /// These bytes, then one blank every so often, until the client has gone.
    Drip(Vec<u8>, Duration),
    /// These bytes, then this block over and over, until the client has gone or the block
    /// was sent so often.
    Flood(Vec<u8>, Vec<u8>, usize),
}

/// A complete answer with a length.
pub fn http(status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Reply {
    Reply::Raw(bytes(status, headers, body))
}

pub fn bytes(status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut head = format!("HTTP/1.1 {status} Status\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    [head.as_bytes(), b"\r\n", body].concat()
}

/// A client that should have gone away by itself is sent away after this, so that a test
/// fails rather than hangs.
pub const PATIENCE: Duration = Duration::from_secs(15);

type Script = dyn Fn(&Request) -> Reply + Send + Sync;

struct Shared {
    script: Box<Script>,
    /// Answer as soon as the headers are read, and close with the body unread.
    impatient: bool,
    requests: Mutex<Vec<Request>>,
    arrived: Condvar,
    numbers: AtomicUsize,
    accepted: AtomicUsize,
    streams: Mutex<Vec<TcpStream>>,
    stopping: AtomicBool,
}

pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Server {
    pub fn start(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Server {
        Server::launch(Box::new(script), false)
    }

    pub fn impatient(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Server {
        Server::launch(Box::new(script), true)
    }

    fn launch(script: Box<Script>, impatient: bool) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script,
            impatient,
            requests: Mutex::default(),
            arrived: Condvar::new(),
            numbers: AtomicUsize::new(0),
            accepted: AtomicUsize::new(0),
            streams: Mutex::default(),
            stopping: AtomicBool::new(false),
        });
        let accepting = shared.clone();
        thread::spawn(move || {
            for (connection, stream) in listener.incoming().enumerate() {
                if accepting.stopping.load(Ordering::SeqCst) {
                    return;
                }
                let stream = stream.unwrap();
                accepting.accepted.fetch_add(1, Ordering::SeqCst);
                accepting.streams.lock().unwrap().push(stream.try_clone().unwrap());
                let shared = accepting.clone();
                thread::spawn(move || shared.serve(stream, connection));
            }
        });
        Server { address, shared }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }

    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Connections accepted so far, closed ones too.
    pub fn connections(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Closes every connection from this side; new ones are still served.
    pub fn hang_up(&self) {
        for stream in self.shared.streams.lock().unwrap().iter() {
            stream.shutdown(Shutdown::Both).ok();
        }
    }

    pub fn wait_for_requests(&self, count: usize) {
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut requests = self.shared.requests.lock().unwrap();
        while requests.len() < count {
            let left = deadline.checked_duration_since(Instant::now()).expect("the request arrives in time");
            requests = self.shared.arrived.wait_timeout(requests, left).unwrap().0;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.hang_up();
        // Wakes the thread that accepts.
        TcpStream::connect(self.address).ok();
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream, connection: usize) {
        // An error is a client that has gone, which many tests provoke.
        self.converse(&mut stream, connection).ok();
        if !self.impatient {
            stream.shutdown(Shutdown::Both).ok();
        }
        // Closes the socket itself: with unread data that resets the connection.
        self.streams.lock().unwrap().retain(|s| s.peer_addr().ok() != stream.peer_addr().ok());
    }

    fn converse(&self, writer: &mut TcpStream, connection: usize) -> io::Result<()> {
        let mut reader = BufReader::new(writer.try_clone()?);
        while let Some(request) = self.read(&mut reader, connection)? {
            let reply = (self.script)(&request);
            {
                self.requests.lock().unwrap().push(request);
                self.arrived.notify_all();
            }
            match reply {
                Reply::Raw(bytes) => writer.write_all(&bytes)?,
                Reply::Last(bytes) => {
                    writer.write_all(&bytes)?;
                    break;
                }
                Reply::Hang => {
                    writer.set_read_timeout(Some(PATIENCE))?;
                    io::copy(&mut reader, &mut io::sink())?;
                }
                Reply::Drip(bytes, pace) => {
                    writer.write_all(&bytes)?;
                    let start = Instant::now();
                    while start.elapsed() < PATIENCE {
                        thread::sleep(pace);
                        writer.write_all(b" ")?;
                    }
                    break;
                }
                Reply::Flood(bytes, block, times) => {
                    writer.write_all(&bytes)?;
                    for _ in 0..times {
                        writer.write_all(&block)?;
                    }
                }
            }
            if self.impatient {
                break;
            }
        }
        Ok(())
    }

    fn read(&self, reader: &mut BufReader<TcpStream>, connection: usize) -> io::Result<Option<Request>> {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut headers = Vec::new();
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            match header.trim_end().split_once(": ") {
                Some((name, value)) => headers.push((name.to_lowercase(), value.to_owned())),
                None => break,
            }
        }
        let number = self.numbers.fetch_add(1, Ordering::SeqCst);
        let mut request =
            Request { number, connection, line: line.trim_end().to_owned(), headers, body: Vec::new() };
        if !self.impatient {
            let length: usize = request.header("content-length").map_or(0, |l| l.parse().unwrap());
            request.body.resize(length, 0);
            reader.read_exact(&mut request.body)?;
        }
        Ok(Some(request))
    }
}
