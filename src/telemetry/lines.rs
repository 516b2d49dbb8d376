//! The thread that writes the lines of a log, and the bounded queue before it.
//!
//! Senders never block: who reads the lines may be slow, or have stopped, and only loses lines by it. They rarely wake the
//! thread: it looks by itself every few milliseconds while there is traffic,
//! and is woken when the queue is half full. Lines are written in batches of up to 64 KiB, each with whole lines.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, appended to.
    File(PathBuf),
}

/// The log that lines belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Log {
    /// One a request.
    Access,
    /// What the process says of itself.
    Process,
}

/// The sending side.
#[derive(Debug)]
pub(super) struct Writer {
    log: Log,
    lines: SyncSender<Box<[u8]>>,
    shared: Arc<Shared>,
    wake_at: usize,
    thread: Thread,
    done: Mutex<Receiver<()>>,
}

/// A destination that is open.
pub(super) struct Output {
    destination: Destination,
    sink: Box<dyn Write + Send>,
}

#[derive(Debug, Default)]
struct Shared {
    queued: Arc<AtomicUsize>,
    queued_bytes: AtomicUsize,
    reopen: AtomicBool,
    closing: AtomicBool,
}

struct Loop {
    log: Log,
    lines: Receiver<Box<[u8]>>,
    shared: Arc<Shared>,
    output: Output,
    batch: Vec<u8>,
    batch_lines: u64,
    is_failing: bool,
}

const BATCH_BYTES: usize = 64 * 1024;
/// Bounds memory when clients send the longest fields that are kept.
const MAX_QUEUED_BYTES: usize = 16 * 1024 * 1024;
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// Lines lost since the process started, one for each kind of log: a log that is replaced takes no counts with it.
static DROPPED_ACCESS: AtomicU64 = AtomicU64::new(0);
static DROPPED_PROCESS: AtomicU64 = AtomicU64::new(0);

/// Lines of the process log that wait; there is one such log.
static QUEUED_PROCESS: LazyLock<Arc<AtomicUsize>> = LazyLock::new(Arc::default);

// === impl Destination ===

impl Destination {
    /// `stdout`, `stderr`, or the path of a file, which starts from a folder unless it is absolute.
    pub fn of(text: &str, folder: &std::path::Path) -> Self {
        match text {
            "stdout" => Self::Stdout,
            "stderr" => Self::Stderr,
            file => Self::File(folder.join(file)),
        }
    }
}

// === impl Log ===

impl Log {
    /// Lines lost since the process started.
    pub(crate) fn dropped_total(self) -> u64 {
        self.dropped().load(Ordering::Relaxed)
    }

    fn dropped(self) -> &'static AtomicU64 {
        match self {
            Self::Access => &DROPPED_ACCESS,
            Self::Process => &DROPPED_PROCESS,
        }
    }

    /// Name of its thread.
    fn thread(self) -> &'static str {
        match self {
            Self::Access => "access-log",
            Self::Process => "process-log",
        }
    }

    /// At how many lines the thread is woken, so that the others need not wait for it to look.
    fn wake_at(self, lines: usize) -> usize {
        match self {
            Self::Access => (lines / 2).max(1),
            // Its lines are few, and somebody may be looking at them.
            Self::Process => 1,
        }
    }
}

/// Lines of the process log that wait to be written.
pub(crate) fn process_log_queued() -> usize {
    QUEUED_PROCESS.load(Ordering::Relaxed)
}

// === impl Writer ===

impl Writer {
    /// Opens the destination and starts its thread; `lines` may wait.
    pub(super) fn open(log: Log, destination: Destination, lines: usize) -> io::Result<Self> {
        Self::start(log, Output::open(destination)?, lines)
    }

    pub(super) fn start(log: Log, output: Output, lines: usize) -> io::Result<Self> {
        let (sender, receiver) = mpsc::sync_channel(lines);
        let (finished, done) = mpsc::channel();
        let queued = match log {
            Log::Access => Arc::default(),
            Log::Process => Arc::clone(&QUEUED_PROCESS),
        };
        let shared = Arc::new(Shared { queued, ..Shared::default() });
        let batch = Vec::with_capacity(BATCH_BYTES);
        let shared_with = Arc::clone(&shared);
        let work = Loop { log, lines: receiver, shared: shared_with, output, batch, batch_lines: 0, is_failing: false };
        let handle = thread::Builder::new().name(log.thread().to_owned()).spawn(move || {
            work.run();
            // Nobody listens when the deadline is over.
            let _ = finished.send(());
        })?;
        let thread = handle.thread().clone();
        Ok(Self { log, lines: sender, shared, wake_at: log.wake_at(lines), thread, done: Mutex::new(done) })
    }

    /// Queues a line, or drops and counts it.
    pub(super) fn send(&self, line: &[u8]) {
        let bytes = self.shared.queued_bytes.fetch_add(line.len(), Ordering::Relaxed);
        let queued = self.shared.queued.fetch_add(1, Ordering::Relaxed) + 1;
        if bytes > MAX_QUEUED_BYTES || self.lines.try_send(line.into()).is_err() {
            self.shared.queued_bytes.fetch_sub(line.len(), Ordering::Relaxed);
            self.shared.queued.fetch_sub(1, Ordering::Relaxed);
            self.log.dropped().fetch_add(1, Ordering::Relaxed);
        }
        if queued == self.wake_at {
            self.thread.unpark();
        }
    }

    pub(super) fn queued(&self) -> usize {
        self.shared.queued.load(Ordering::Relaxed)
    }

    pub(super) fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        self.thread.unpark();
    }

    /// Writes what is queued and ends the thread; waits for two seconds at most, and the second time not at all.
    pub(super) fn close(&self) {
        self.shared.closing.store(true, Ordering::Release);
        self.thread.unpark();
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let is_late = done.recv_timeout(CLOSE_DEADLINE) == Err(RecvTimeoutError::Timeout);
        // The process log cannot tell of its own end.
        if is_late && self.log == Log::Access {
            tracing::warn!(queued = self.queued(), "access log not written in time, lines dropped");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

// === impl Loop ===

impl Loop {
    /// Writes until the log is closed and the queue is empty.
    fn run(mut self) {
        let mut pause = SHORTEST_PAUSE;
        loop {
            let is_closing = self.shared.closing.load(Ordering::Acquire);
            let wants_reopen = self.shared.reopen.swap(false, Ordering::Acquire);
            let written = self.drain();
            if wants_reopen {
                self.reopen();
            }
            if is_closing {
                return;
            }
            pause = if written > 0 { SHORTEST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
            thread::park_timeout(pause);
        }
    }

    /// Writes what is queued, and gives the number of lines.
    fn drain(&mut self) -> u64 {
        let mut written = 0;
        while let Ok(line) = self.lines.try_recv() {
            self.take(&line);
            written += 1;
        }
        self.flush();
        written
    }

    fn take(&mut self, line: &[u8]) {
        self.shared.queued.fetch_sub(1, Ordering::Relaxed);
        self.shared.queued_bytes.fetch_sub(line.len(), Ordering::Relaxed);
        if self.batch.len() + line.len() > BATCH_BYTES {
            self.flush();
        }
        self.batch.extend_from_slice(line);
        self.batch_lines += 1;
    }

    /// Writes the batch; when that fails its lines are lost, counted, and told once until it works again.
    fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        match self.output.write(&self.batch) {
            Ok(()) => self.is_failing = false,
            Err(error) => {
                self.log.dropped().fetch_add(self.batch_lines, Ordering::Relaxed);
                if !self.is_failing {
                    tracing::warn!(%error, log = self.log.thread(), "log cannot be written");
                }
                self.is_failing = true;
            }
        }
        self.batch.clear();
        self.batch_lines = 0;
    }

    fn reopen(&mut self) {
        match Output::open(self.output.destination.clone()) {
            Ok(output) => self.output = output,
            Err(error) => {
                tracing::warn!(%error, log = self.log.thread(), "log cannot be reopened, the old file is kept")
            }
        }
    }
}

// === impl Output ===

impl Output {
    fn open(destination: Destination) -> io::Result<Self> {
        let sink: Box<dyn Write + Send> = match &destination {
            Destination::Stdout => Box::new(io::stdout()),
            Destination::Stderr => Box::new(io::stderr()),
            Destination::File(path) => Box::new(append(path)?),
        };
        Ok(Self { destination, sink })
    }

    #[cfg(test)]
    pub(super) fn other(sink: impl Write + Send + 'static) -> Self {
        Self { destination: Destination::Stdout, sink: Box::new(sink) }
    }

    /// Writes all; a pipe that does not block and is full is waited for.
    fn write(&mut self, mut batch: &[u8]) -> io::Result<()> {
        while !batch.is_empty() {
            match self.sink.write(batch) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => batch = batch.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(SHORTEST_PAUSE),
                Err(error) => return Err(error),
            }
        }
        self.sink.flush()
    }
}

fn append(path: &std::path::Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}
