//! When a record was written, as its source says: many ways to write a date become one.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A time of the wall clock of the machine that wrote the log.
///
/// RFC 3339 where the source tells that much (`2024-11-22T10:01:02.064130Z`); without an offset where the source has
/// none (`dmesg -T`: `2024-11-22T10:01:02`); as the source writes it where it has no year (syslog:
/// `Nov 22 10:01:02`) or names the month in a language that is not known here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LogTime(String);

impl LogTime {
    /// The time as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for LogTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A time as its source writes it. To read it costs more than most records are worth, so that is left to
/// [`WrittenTime::read`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenTime<'a> {
    /// In which manner.
    pub manner: Manner,
    /// What is written.
    pub text: Cow<'a, str>,
}

/// A manner of writing a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Manner {
    /// `2024-11-22T10:01:02.064130+00:00`, as RFC 3339 or nearly so: a blank for the `T`, a comma before the
    /// fraction (`dmesg --time-format iso`), an offset without a colon (`journalctl -o short-iso`), or none.
    Iso,
    /// `Nov 22 10:01:02`, without a year (RFC 3164).
    Syslog,
    /// `Fri Nov 22 10:01:02 2024`, as ctime(3) in any language (`dmesg -T`).
    Ctime,
    /// Seconds since 1970, with a fraction.
    EpochSeconds,
    /// Microseconds since 1970.
    EpochMicroseconds,
}

/// No time is longer.
const LONGEST: usize = 64;

impl<'a> WrittenTime<'a> {
    /// A time written in this manner.
    pub fn new(manner: Manner, text: impl Into<Cow<'a, str>>) -> Self {
        Self { manner, text: text.into() }
    }

    pub(crate) fn into_owned(self) -> WrittenTime<'static> {
        WrittenTime { manner: self.manner, text: Cow::Owned(self.text.into_owned()) }
    }

    /// The time.
    pub fn read(&self) -> LogTime {
        let text = &self.text[..self.text.floor_char_boundary(LONGEST)];
        let read = match self.manner {
            Manner::Iso => iso(text),
            Manner::Syslog => None,
            Manner::Ctime => ctime(text),
            Manner::EpochSeconds => epoch_seconds(text),
            Manner::EpochMicroseconds => text
                .parse()
                .ok()
                .and_then(|micros| Timestamp::from_microsecond(micros).ok())
                .map(|time| time.to_string()),
        };
        LogTime(read.unwrap_or_else(|| text.to_owned()))
    }
}

impl WrittenTime<'_> {
    /// How many seconds before `later` this is; less than none if behind. `None`: that cannot be told.
    pub(crate) fn seconds_before(&self, later: &WrittenTime<'_>) -> Option<i64> {
        if self.text == later.text {
            return Some(0);
        }
        let seconds = later.second()? - self.second()?;
        // Without a year, January seems to come before December.
        let half_a_year = 183 * 86_400;
        Some(if self.manner == Manner::Syslog && seconds < -half_a_year {
            seconds + 366 * 86_400
        } else {
            seconds
        })
    }

    /// The second, counted from the same one for all times of this manner; without a year as if it were always the same.
    fn second(&self) -> Option<i64> {
        if self.manner == Manner::Syslog {
            let (date, _) = self.text.split_once('.').unwrap_or((&self.text, ""));
            return seconds_since_1970(&ctime(&format!("{date} 1972"))?);
        }
        let read = self.read();
        let with_zone = read.as_str().parse::<Timestamp>().ok().map(Timestamp::as_second);
        with_zone.or_else(|| seconds_since_1970(read.as_str()))
    }
}

fn seconds_since_1970(text: &str) -> Option<i64> {
    let time: jiff::civil::DateTime = text.get(..19)?.parse().ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

/// The date and the time with a `T` between, the fraction behind a point, the offset with a colon.
fn iso(text: &str) -> Option<String> {
    let (date, clock) = text.split_once(['T', 't', ' ', '_'])?;
    let end =
        clock.find(|c: char| !(c.is_ascii_digit() || matches!(c, ':' | '.' | ','))).unwrap_or(clock.len());
    let (clock, zone) = clock.split_at(end);
    let zone = match zone.trim_start() {
        "Z" | "z" | "UTC" | "GMT" => "Z".to_owned(),
        offset if offset.len() == 5 && offset.starts_with(['+', '-']) => {
            let (hours, minutes) = offset.split_at_checked(3)?;
            format!("{hours}:{minutes}")
        }
        offset if offset.starts_with(['+', '-']) => offset.to_owned(),
        // A zone's abbreviation says no offset.
        _ => String::new(),
    };
    Some(format!("{date}T{}{zone}", clock.replace(',', ".")))
}

fn epoch_seconds(text: &str) -> Option<String> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let nanoseconds = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    Timestamp::new(seconds.parse().ok()?, nanoseconds).ok().map(|time| time.to_string())
}

/// Months as glibc's locales abbreviate them, by their beginnings; Chinese, Japanese and Korean write numbers.
const MONTHS: [&[&str]; 12] = [
    &["jan", "ene", "gen", "sty", "янв"],
    &["feb", "fév", "fev", "lut", "фев"],
    &["mar", "mär", "mrz", "maa", "мар"],
    &["apr", "avr", "abr", "kwi", "апр"],
    &["may", "mai", "mag", "mei", "maj", "мая", "май"],
    &["jun", "juin", "giu", "cze", "июн"],
    &["jul", "juil", "lug", "lip", "июл"],
    &["aug", "aoû", "ago", "sie", "авг"],
    &["sep", "set", "wrz", "сен"],
    &["oct", "okt", "ott", "out", "paź", "окт"],
    &["nov", "lis", "ноя"],
    &["dec", "dez", "déc", "dic", "gru", "дек"],
];

fn ctime(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let at = words.iter().position(|word| word.split(':').count() == 3)?;
    let (&year, &clock) = (words.get(at + 1)?, words.get(at)?);
    // Day and month stand before the clock, in either order.
    let (first, second) = (*words.get(at.checked_sub(2)?)?, *words.get(at - 1)?);
    let number =
        |word: &str| word.trim_end_matches('.').parse::<u8>().ok().filter(|day| (1..=31).contains(day));
    let (month, day) = match (month(first), number(second)) {
        (Some(month), Some(day)) => (month, day),
        _ => (month(second)?, number(first)?),
    };
    let is_clock = clock.bytes().all(|byte| byte.is_ascii_digit() || byte == b':');
    let is_year = year.len() == 4 && year.bytes().all(|byte| byte.is_ascii_digit());
    (is_clock && is_year).then(|| format!("{year}-{month:02}-{day:02}T{clock}"))
}

fn month(word: &str) -> Option<usize> {
    if let Some(number) = word.strip_suffix(['月', '월']) {
        return number.parse().ok().filter(|month| (1..=12).contains(month));
    }
    let word = word.to_lowercase();
    MONTHS.iter().position(|names| names.iter().any(|name| word.starts_with(name))).map(|index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_manner_becomes_one() {
        for (manner, text, time) in [
            (Manner::Iso, "2024-11-22T10:01:02,064130+00:00", "2024-11-22T10:01:02.064130+00:00"),
            (Manner::Iso, "2024-11-22T10:01:02+0100", "2024-11-22T10:01:02+01:00"),
            (Manner::Iso, "2024-11-22 10:01:02 UTC", "2024-11-22T10:01:02Z"),
            (Manner::Iso, "2024-11-22 10:01:02 CET", "2024-11-22T10:01:02"),
            (Manner::Iso, "2024-11-22T10:01:02.064130123Z", "2024-11-22T10:01:02.064130123Z"),
            (Manner::Syslog, "Nov 22 10:01:02", "Nov 22 10:01:02"),
            (Manner::Ctime, "Fri Nov 22 10:01:02 2024", "2024-11-22T10:01:02"),
            (Manner::Ctime, "ven. nov. 28 07:26:44 2025", "2025-11-28T07:26:44"),
            (Manner::Ctime, "Di Aug 12 03:54:03 2025", "2025-08-12T03:54:03"),
            (Manner::Ctime, "二 9月  3 05:57:48 2024", "2024-09-03T05:57:48"),
            (Manner::Ctime, "mar. 3 juin 05:57:48 2024", "2024-06-03T05:57:48"),
            (Manner::Ctime, "xx yy 3 05:57:48 2024", "xx yy 3 05:57:48 2024"),
            (Manner::EpochSeconds, "1732269662.064130", "2024-11-22T10:01:02.06413Z"),
            (Manner::EpochMicroseconds, "1732269662064130", "2024-11-22T10:01:02.06413Z"),
            (Manner::EpochMicroseconds, "?", "?"),
        ] {
            assert_eq!(WrittenTime::new(manner, text).read().as_str(), time);
        }
    }

    #[test]
    fn distances() {
        for (manner, first, second, seconds) in [
            (Manner::Iso, "2024-11-22T10:01:02,064130+00:00", "2024-11-22T10:01:04,9+00:00", Some(2)),
            (Manner::Ctime, "Fri Nov 22 23:59:59 2024", "Sat Nov 23 00:00:00 2024", Some(1)),
            (Manner::Ctime, "ven. nov. 28 07:26:44 2025", "jeu. nov. 27 07:26:44 2025", Some(-86_400)),
            (Manner::Syslog, "Nov  2 10:01:02", "Nov 12 10:01:03", Some(864_001)),
            (Manner::Syslog, "Dec 31 23:59:59", "Jan  1 00:00:00", Some(1)),
            (Manner::Iso, "2024-11-22T10:01:02+00:00", "2024-11-22T11:01:03+01:00", Some(1)),
            (Manner::Syslog, "Nov 2 10:01:02.25", "Nov 2 10:01:02.75", Some(0)),
            (Manner::EpochMicroseconds, "1732269662064130", "1732269663064130", Some(1)),
            (Manner::Ctime, "xx yy 3 05:57:48 2024", "xx yy 4 05:57:48 2024", None),
            (Manner::Ctime, "x", "x", Some(0)),
        ] {
            let time = |text| WrittenTime::new(manner, text);
            assert_eq!(time(first).seconds_before(&time(second)), seconds, "{first}");
        }
    }
}
