//! Request heads while they arrive: how many bytes of one came, and since when one of HTTP/2 is waited for.
//!
//! Pure: bytes in, numbers out. The engine looks at a head when it is whole, and HTTP/2's own limit is one of bytes only.
//! Source: RFC 9112 sections 2.2 and 3, RFC 9113 sections 4.1 and 6.10.

use tokio::time::Instant;

/// Lines of a head that the engine reads: it answers more of them as it does what is no request at all.
const MAX_LINES: usize = 256;
/// A head of so few bytes does not have that many.
const FEW_BYTES: usize = 512;
/// Method, version and line end of a request line, and spaces.
const AROUND_TARGET: u64 = 64;
/// What an HTTP/2 connection begins with (RFC 9113, section 3.4).
const PREFACE: u8 = 24;
/// Bytes before a frame's payload.
const FRAME_HEAD: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// What an HTTP/1 head may measure.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadBytes {
    /// The first line.
    pub(super) target: u64,
    /// The others.
    pub(super) fields: u64,
}

/// What a head has too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Excess {
    Target,
    Fields,
}

/// The head that is arriving.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Head {
    /// HTTP/1: bytes up to the end of the first line, or a little more; 0: it has not ended.
    line: u64,
    /// HTTP/1: line ends, where there may be many.
    lines: usize,
    frames: Frames,
}

/// Where in its frames an HTTP/2 client is.
#[derive(Clone, Copy, Debug, Default)]
struct Frames {
    /// Bytes of the preface that came.
    preface: u8,
    /// A frame's head, as far as it came.
    partial: [u8; FRAME_HEAD],
    has: u8,
    /// Bytes of the payload that are missing.
    missing: u32,
    /// Whether a head has begun and not ended.
    is_in_head: bool,
    /// Whether it ends with this frame.
    is_last: bool,
    /// When its bytes were first waited for.
    waiting_since: Option<Instant>,
}

// === impl HeadBytes ===

impl HeadBytes {
    pub(super) fn of(target: usize, fields: usize) -> Self {
        let wide = |bytes| u64::try_from(bytes).unwrap_or(u64::MAX);
        Self { target: wide(target).saturating_add(AROUND_TARGET), fields: wide(fields) }
    }
}

// === impl Head ===

impl Head {
    /// Notes bytes of an HTTP/1 head; `before`: how many came before them.
    pub(super) fn lines_came(&mut self, before: u64, bytes: &[u8]) {
        if before > 0 || bytes.len() > FEW_BYTES {
            self.lines += bytes.iter().filter(|byte| **byte == b'\n').count();
        }
        if self.line > 0 {
            return;
        }
        // Most heads come whole, and end with a line's end.
        let end = match bytes.last() {
            Some(b'\n') => Some(bytes.len()),
            _ => bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1),
        };
        self.line = end.map_or(0, |end| before.saturating_add(end as u64));
    }

    /// What an HTTP/1 head of so many bytes, which is not whole, has too much of.
    pub(super) fn excess(&self, bytes: u64, limits: &HeadBytes) -> Option<Excess> {
        match self.line {
            0 => (bytes > limits.target).then_some(Excess::Target),
            line => (bytes - line.min(bytes) > limits.fields).then_some(Excess::Fields),
        }
    }

    /// Whether an HTTP/1 head has more lines than the engine reads.
    pub(super) fn has_too_many_lines(&self) -> bool {
        self.lines > MAX_LINES
    }

    /// Notes bytes of HTTP/2.
    pub(super) fn frames_came(&mut self, bytes: &[u8]) {
        self.frames.came(bytes);
    }

    /// Since when the rest of an HTTP/2 head is waited for; `None`: it is not.
    pub(super) fn waiting_since(&mut self, now: impl Fn() -> Instant) -> Option<Instant> {
        self.frames.is_in_head.then(|| *self.frames.waiting_since.get_or_insert_with(now))
    }
}

// === impl Frames ===

impl Frames {
    fn came(&mut self, mut bytes: &[u8]) {
        if self.preface < PREFACE {
            let count = bytes.len().min(usize::from(PREFACE - self.preface));
            self.preface += u8::try_from(count).unwrap_or(PREFACE);
            bytes = bytes.get(count..).unwrap_or_default();
        }
        while !bytes.is_empty() {
            let count = if self.missing > 0 { self.payload_came(bytes.len()) } else { self.head_came(bytes) };
            bytes = bytes.get(count..).unwrap_or_default();
        }
    }

    fn payload_came(&mut self, available: usize) -> usize {
        let count = u32::try_from(available).unwrap_or(u32::MAX).min(self.missing);
        self.missing -= count;
        self.end_if_whole();
        usize::try_from(count).unwrap_or(available)
    }

    fn head_came(&mut self, bytes: &[u8]) -> usize {
        let has = usize::from(self.has);
        let count = bytes.len().min(FRAME_HEAD - has);
        for (slot, byte) in self.partial.iter_mut().skip(has).zip(bytes) {
            *slot = *byte;
        }
        self.has += u8::try_from(count).unwrap_or_default();
        if usize::from(self.has) == FRAME_HEAD {
            self.has = 0;
            self.begin();
        }
        count
    }

    /// A frame's payload is next.
    fn begin(&mut self) {
        let [a, b, c, kind, flags, ..] = self.partial;
        self.missing = u32::from_be_bytes([0, a, b, c]);
        match kind {
            HEADERS | CONTINUATION => {
                self.is_in_head = true;
                self.is_last = flags & END_HEADERS != 0;
            }
            // Nothing else may stand inside a head: the engine ends such a connection.
            _ => self.is_last = true,
        }
        self.end_if_whole();
    }

    fn end_if_whole(&mut self) {
        if self.missing == 0 && self.is_last {
            self.is_in_head = false;
            self.waiting_since = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadBytes = HeadBytes { target: 100, fields: 1000 };

    fn excess(pieces: &[&[u8]]) -> Option<Excess> {
        let (mut head, mut bytes) = (Head::default(), 0);
        for piece in pieces {
            head.lines_came(bytes, piece);
            bytes += piece.len() as u64;
        }
        head.excess(bytes, &LIMITS)
    }

    #[test]
    fn a_line_and_fields_have_their_own_limits() {
        let long = [b'x'; 1001];
        assert_eq!(excess(&[b"GET /", &long[..95]]), None);
        assert_eq!(excess(&[b"GET /", &long[..96]]), Some(Excess::Target));
        let line = b"GET / HTTP/1.1\r\n";
        assert_eq!(excess(&[line, &long[..1000]]), None);
        assert_eq!(excess(&[line, &long]), Some(Excess::Fields), "in one value without end");
        assert_eq!(excess(&[b"GET / HTTP/1.1\r\nA: ", &long]), Some(Excess::Fields));
        assert_eq!(excess(&[line, b"A: b\r\n".repeat(167).as_slice()]), Some(Excess::Fields), "in lines without end");
    }

    #[test]
    fn lines_are_counted_however_they_come() {
        for (count, expected) in [(250, false), (300, true)] {
            let bytes = [b"GET / HTTP/1.1\r\n", b"A: b\r\n".repeat(count).as_slice()].concat();
            for piece in [7, 100, 5000] {
                let mut head = Head::default();
                for (at, bytes) in bytes.chunks(piece).enumerate() {
                    head.lines_came((at * piece) as u64, bytes);
                }
                assert_eq!(head.has_too_many_lines(), expected, "{count} in pieces of {piece}");
            }
        }
    }

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], &vec![b'x'; payload]].concat()
    }

    fn is_in_head(bytes: &[u8], piece: usize) -> bool {
        let mut head = Head::default();
        for bytes in [&[b'P'; 24], bytes].concat().chunks(piece) {
            head.frames_came(bytes);
        }
        head.waiting_since(Instant::now).is_some()
    }

    #[test]
    fn a_head_of_frames_lasts_until_its_last_frame_is_whole() {
        let whole = [frame(4, 0, 0), frame(HEADERS, END_HEADERS, 30), frame(0, 0, 500)].concat();
        let begun = [frame(4, 0, 12), frame(HEADERS, 0, 30)].concat();
        let ended = [begun.clone(), frame(CONTINUATION, 0, 0), frame(CONTINUATION, END_HEADERS, 3)].concat();
        for piece in [1, 2, 7, 9, 10_000] {
            assert!(!is_in_head(&whole, piece), "{piece}");
            assert!(is_in_head(&begun, piece), "{piece}");
            assert!(is_in_head(&ended[..ended.len() - 1], piece), "{piece}");
            assert!(!is_in_head(&ended, piece), "{piece}");
            assert!(is_in_head(&whole[..20], piece), "a frame whose payload drips, {piece}");
        }
    }

    #[test]
    fn the_wait_for_a_head_begins_once() {
        let (mut head, start) = (Head::default(), Instant::now());
        head.frames_came(&[b'P'; 24]);
        assert_eq!(head.waiting_since(|| start), None);
        head.frames_came(&frame(HEADERS, 0, 0));
        let later = || start + std::time::Duration::from_secs(1);
        assert_eq!(head.waiting_since(|| start), Some(start));
        head.frames_came(&frame(CONTINUATION, 0, 1));
        assert_eq!(head.waiting_since(later), Some(start));
    }
}
