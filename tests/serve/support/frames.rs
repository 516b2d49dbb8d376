//! HTTP/2 frame by frame, on either side (RFC 9113 section 4.1).

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::{PATIENCE, Proxy, tls};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const GOAWAY: u8 = 7;
pub const WINDOW: u8 = 8;

/// Flags of DATA and HEADERS.
pub const END_STREAM: u8 = 0x1;
pub const END_HEADERS: u8 = 0x4;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame: type, flags, stream, payload.
pub type Frame = (u8, u8, u32, Vec<u8>);

/// A connection whose frames are written by hand.
pub struct Frames<S> {
    stream: S,
    buffer: Vec<u8>,
}

/// A client of the proxy.
pub type Raw = Frames<TlsStream<TcpStream>>;

/// What came of a request.
#[derive(Debug, PartialEq)]
pub enum Got {
    Status(String),
    Reset,
    Gone,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Frames<S> {
    /// The client's side, with these settings.
    pub async fn client(stream: S, settings: &[(u16, u32)]) -> Self {
        let mut raw = Self { stream, buffer: Vec::new() };
        raw.write(PREFACE).await;
        raw.settings(settings).await;
        raw
    }

    /// The server's side, with these settings, once the client has said what it speaks.
    pub async fn server(stream: S, settings: &[(u16, u32)]) -> Option<Self> {
        let mut raw = Self { stream, buffer: Vec::new() };
        while raw.buffer.len() < PREFACE.len() {
            if !raw.stream.read_buf(&mut raw.buffer).await.is_ok_and(|count| count > 0) {
                return None;
            }
        }
        raw.buffer.drain(..PREFACE.len());
        raw.settings(settings).await;
        Some(raw)
    }

    async fn settings(&mut self, settings: &[(u16, u32)]) {
        let payload: Vec<u8> =
            settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
        self.frame(SETTINGS, 0, 0, &payload).await;
    }

    pub async fn write(&mut self, bytes: &[u8]) -> bool {
        let write = async { self.stream.write_all(bytes).await.is_ok() && self.stream.flush().await.is_ok() };
        tokio::time::timeout(PATIENCE, write).await.unwrap_or(false)
    }

    pub async fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.write(&frame(kind, flags, stream, payload)).await
    }

    /// Ends its side of the connection and waits for the end of the other.
    pub async fn finish(mut self) {
        let _ = self.stream.shutdown().await;
        while self.stream.read_buf(&mut self.buffer).await.is_ok_and(|count| count > 0) {
            self.buffer.clear();
        }
    }

    /// The next frame; `None`: the connection has ended.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if let [a, b, c, kind, flags, s0, s1, s2, s3, rest @ ..] = &self.buffer[..] {
                let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
                if let Some(payload) = rest.get(..length) {
                    let frame = (*kind, *flags, u32::from_be_bytes([*s0, *s1, *s2, *s3]), payload.to_vec());
                    self.buffer.drain(..9 + length);
                    return Some(frame);
                }
            }
            if !self.stream.read_buf(&mut self.buffer).await.is_ok_and(|count| count > 0) {
                return None;
            }
        }
    }

    /// The same within the patience of a test.
    pub async fn soon(&mut self) -> Option<Frame> {
        tokio::time::timeout(PATIENCE, self.next()).await.expect("a frame or the end")
    }
}

impl Raw {
    /// Opens a connection to the proxy with these settings.
    pub async fn open(proxy: &Proxy, settings: &[(u16, u32)]) -> Self {
        Self::client(tls(proxy.https(), "a.test", &["h2"]).await.unwrap(), settings).await
    }

    /// Sends a request without body; fields as literals without indexing.
    pub async fn request(&mut self, stream: u32, fields: &[(&str, &str)]) -> bool {
        self.frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(fields)).await
    }

    /// Waits for what becomes of a stream.
    pub async fn outcome(&mut self, stream: u32) -> Got {
        while let Some((kind, _, of, payload)) = self.soon().await {
            match kind {
                HEADERS if of == stream => return Got::Status(status(&payload)),
                RST if of == stream => return Got::Reset,
                GOAWAY if payload.get(4..8) != Some(&[0; 4]) => return Got::Gone,
                _ => {}
            }
        }
        Got::Gone
    }
}

/// A frame as bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// What SETTINGS say of one setting.
pub fn setting(payload: &[u8], id: u16) -> Option<u32> {
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
    payload.chunks(6).find(|pair| number(&pair[..2]) == u32::from(id)).map(|pair| number(&pair[2..]))
}

/// A header block of literals that need no table (RFC 7541 section 6.2.2).
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            let length = text.chars().count();
            if length < 127 {
                block.push(u8::try_from(length).unwrap());
            } else {
                block.push(127);
                let mut rest = length - 127;
                while rest >= 128 {
                    block.push(u8::try_from(rest % 128 + 128).unwrap());
                    rest /= 128;
                }
                block.push(u8::try_from(rest).unwrap());
            }
            block.extend(text.chars().map(|c| u8::try_from(c).unwrap()));
        }
    }
    block
}

/// The status of an answer, which comes first in its block: indexed, or a literal with an indexed name.
pub fn status(block: &[u8]) -> String {
    match block {
        [0x88, ..] => "200".into(),
        [0x89, ..] => "204".into(),
        [0x8c, ..] => "400".into(),
        [0x8d, ..] => "404".into(),
        [0x48, 0x03, digits @ ..] => digits[..3].iter().copied().map(char::from).collect(),
        [0x48, length, code @ ..] => huffman_digits(&code[..usize::from(length & 0x7f)]),
        other => format!("{:02x?}", &other[..other.len().min(8)]),
    }
}

/// Three digits in the code of RFC 7541 appendix B: 0 to 2 have five bits, the others six.
fn huffman_digits(code: &[u8]) -> String {
    let bits: Vec<u8> = code.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)).collect();
    let value = |bits: &[u8]| bits.iter().fold(0, |value, bit| value << 1 | bit);
    let (mut text, mut at) = (String::new(), 0);
    while text.len() < 3 {
        let short = value(&bits[at..at + 5]);
        let (digit, length) = if short < 3 { (short, 5) } else { (value(&bits[at..at + 6]) - 0x19 + 3, 6) };
        text.push(char::from(b'0' + digit));
        at += length;
    }
    text
}
