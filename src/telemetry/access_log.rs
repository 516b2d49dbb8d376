//! One line a request: json, combined, or an nginx `log_format`.
//!
//! A line is formatted on the request's thread into a buffer which that thread keeps, copied once, and handed to a
//! thread of the log's own through a queue bounded in lines and in bytes. The request path never blocks: when the
//! queue is full, the line is dropped and counted. Bytes of clients are escaped and capped at 2 KiB a field; queries
//! are logged as they are, within that cap. Authorization and Cookie are never in a record, so never in a line.

mod decimal;
mod escape;
mod json;
mod nginx;
mod timestamp;

use std::cell::RefCell;
use std::io;
use std::str::FromStr;

pub(crate) use self::nginx::FormatError;
pub use super::lines::Destination;

use self::nginx::Template;
use super::lines::{Log, Writer};
use super::record::{Recorder, RequestRecord, SessionRecord};

/// Form of a line.
#[derive(Clone, Debug)]
pub enum Format {
    /// One JSON object, with OpenTelemetry's names where one exists.
    Json,
    /// The combined format of Apache and nginx.
    Combined,
    /// An nginx `log_format`.
    Nginx(NginxFormat),
}

/// An nginx `log_format`, compiled.
#[derive(Clone, Debug)]
pub struct NginxFormat(Template);

/// The access log. Dropping it closes it.
#[derive(Debug)]
pub struct AccessLog {
    layout: Layout,
    writer: Writer,
}

#[derive(Debug)]
enum Layout {
    Json,
    Template(Template),
}

/// Lines that may wait to be written.
const QUEUE_LINES: usize = 8192;
/// A buffer that a long line has grown is given back above this size.
const KEPT_BUFFER_BYTES: usize = 16 * 1024;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

// === impl Format ===

impl FromStr for Format {
    type Err = FormatError;

    /// `json`, `combined`, or an nginx `log_format`, known by its `$`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "json" => Ok(Self::Json),
            "combined" => Ok(Self::Combined),
            _ if text.contains('$') => NginxFormat::parse(text).map(Self::Nginx),
            _ => Err(FormatError::UnknownFormat { name: text.to_owned() }),
        }
    }
}

// === impl NginxFormat ===

impl NginxFormat {
    /// Compiles a `log_format` string.
    ///
    /// # Errors
    /// When it names a variable that tidegate does not know.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        Template::parse(text).map(Self)
    }

    /// Names of the variables that a `log_format` may have.
    pub fn variables() -> impl Iterator<Item = &'static str> {
        nginx::variables()
    }
}

// === impl AccessLog ===

impl AccessLog {
    /// Opens the log and starts its thread.
    ///
    /// # Errors
    /// When the file cannot be opened or the thread cannot be started.
    pub fn open(format: Format, destination: Destination) -> io::Result<Self> {
        Ok(Self { layout: Layout::of(format), writer: Writer::open(Log::Access, destination, QUEUE_LINES)? })
    }

    /// Opens the file again by its path, after what is queued was written. When that fails, the old one is kept.
    pub fn reopen(&self) {
        self.writer.reopen();
    }

    /// Writes what is queued, for two seconds at most. Lines that come later are dropped and counted.
    pub fn close(&self) {
        self.writer.close();
    }

    /// Lines that wait to be written.
    pub fn queued(&self) -> usize {
        self.writer.queued()
    }

    #[cfg(test)]
    fn to(format: Format, output: impl io::Write + Send + 'static, lines: usize) -> io::Result<Self> {
        Ok(Self {
            layout: Layout::of(format),
            writer: Writer::start(Log::Access, super::lines::Output::other(output), lines)?,
        })
    }
}

impl Recorder for AccessLog {
    fn record(&self, record: &RequestRecord<'_>) {
        BUFFER.with_borrow_mut(|buffer| {
            buffer.clear();
            self.layout.write(buffer, record);
            buffer.push(b'\n');
            self.writer.send(buffer);
            if buffer.capacity() > KEPT_BUFFER_BYTES {
                buffer.shrink_to(KEPT_BUFFER_BYTES);
            }
        });
    }

    /// It is a log of requests.
    fn record_session(&self, _: &SessionRecord<'_>) {}
}

// === impl Layout ===

impl Layout {
    fn of(format: Format) -> Self {
        match format {
            Format::Json => Self::Json,
            Format::Combined => Self::Template(Template::combined()),
            Format::Nginx(NginxFormat(template)) => Self::Template(template),
        }
    }

    fn write(&self, line: &mut Vec<u8>, record: &RequestRecord<'_>) {
        match self {
            Self::Json => json::write(line, record),
            Self::Template(template) => template.write(line, record),
        }
    }
}

#[cfg(test)]
mod tests;
