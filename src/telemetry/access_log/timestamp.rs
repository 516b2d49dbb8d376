//! Moments as text, in UTC.
//!
//! Source: RFC 3339; the civil date is Howard Hinnant's `civil_from_days`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::decimal::{padded, seconds_millis};

/// A moment split into the parts of a date.
#[derive(Clone, Copy, Debug)]
struct Civil {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
    millis: u32,
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Writes `2026-11-21T05:30:42.123Z`.
pub(super) fn rfc3339(line: &mut Vec<u8>, time: SystemTime) {
    let civil = Civil::of(time);
    civil.write_iso(line);
    line.push(b'.');
    padded(line, u64::from(civil.millis), 3);
    line.push(b'Z');
}

/// Writes `2026-11-21T05:30:42+00:00`, nginx's `$time_iso8601`.
pub(super) fn iso8601(line: &mut Vec<u8>, time: SystemTime) {
    Civil::of(time).write_iso(line);
    line.extend_from_slice(b"+00:00");
}

/// Writes `21/Nov/2026:05:30:42 +0000`, nginx's `$time_local`.
pub(super) fn common_log(line: &mut Vec<u8>, time: SystemTime) {
    let civil = Civil::of(time);
    let month = MONTHS.iter().zip(1..).find(|(_, number)| *number == civil.month).map_or("", |(name, _)| name);
    padded(line, civil.day, 2);
    line.push(b'/');
    line.extend_from_slice(month.as_bytes());
    line.push(b'/');
    padded(line, civil.year, 4);
    line.push(b':');
    civil.write_clock(line);
    line.extend_from_slice(b" +0000");
}

/// Writes seconds since 1970 with milliseconds, nginx's `$msec`.
pub(super) fn unix_millis(line: &mut Vec<u8>, time: SystemTime) {
    seconds_millis(line, since_epoch(time));
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

// === impl Civil ===

impl Civil {
    /// Moments before 1970 count as 1970.
    fn of(time: SystemTime) -> Self {
        let unix = since_epoch(time);
        let (days, seconds) = (unix.as_secs() / 86_400, unix.as_secs() % 86_400);
        // Years begin in March and eras have 400 years, so that the leap day is the last of its year.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        Self { year, month, day, hour, minute, second, millis: unix.subsec_millis() }
    }

    fn write_iso(&self, line: &mut Vec<u8>) {
        padded(line, self.year, 4);
        line.push(b'-');
        padded(line, self.month, 2);
        line.push(b'-');
        padded(line, self.day, 2);
        line.push(b'T');
        self.write_clock(line);
    }

    fn write_clock(&self, line: &mut Vec<u8>) {
        padded(line, self.hour, 2);
        line.push(b':');
        padded(line, self.minute, 2);
        line.push(b':');
        padded(line, self.second, 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(form: fn(&mut Vec<u8>, SystemTime), millis: u64) -> String {
        let mut line = Vec::new();
        form(&mut line, UNIX_EPOCH + Duration::from_millis(millis));
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_709_251_200, "2024-03-01T00:00:00.000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(text(rfc3339, seconds * 1000), expected);
        }
    }

    #[test]
    fn each_form_shows_the_same_moment() {
        let millis = 1_795_239_042_007;
        assert_eq!(text(rfc3339, millis), "2026-11-21T05:30:42.007Z");
        assert_eq!(text(iso8601, millis), "2026-11-21T05:30:42+00:00");
        assert_eq!(text(common_log, millis), "21/Nov/2026:05:30:42 +0000");
        assert_eq!(text(unix_millis, millis), "1795239042.007");
    }
}
