//! Spans of time as fail2ban reads them: "10m", "1d 12h", "3600 * 24", "-1".
//!
//! There, such a value is a program that is evaluated. Here it is read as a sum of products; whatever
//! else it may hold is refused. The letters are not those of systemd: `m` and `M` are minutes.

/// A span, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Span {
    Seconds(u64),
    /// Any negative number.
    Permanent,
}

/// The longest that is no permanent ban: what wardend.conf(5) takes.
const LONGEST: u64 = 5218 * 7 * 86_400;

/// Each with the words for it.
const UNITS: [(f64, &[&str]); 7] = [
    (1.0, &["s", "ss", "se", "sec", "second", "seconds"]),
    (60.0, &["m", "mm", "mi", "min", "minute", "minutes"]),
    (3600.0, &["h", "hh", "ho", "hou", "hour", "hours"]),
    (86_400.0, &["d", "dd", "da", "day", "days"]),
    (604_800.0, &["w", "ww", "we", "wee", "week", "weeks"]),
    (2_629_800.0, &["mo", "mon", "month", "months"]),
    (31_557_600.0, &["y", "yy", "ye", "yea", "year", "years"]),
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Token {
    Number(f64),
    Unit(f64),
    Sign(char),
}

/// Why a value is no span: the end of a sentence that begins with the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SpanError {
    #[error("is empty")]
    Empty,
    #[error("has '{0}', which is not a number")]
    NotANumber(String),
    #[error("has '{0}', which is not a unit of time of fail2ban (s, m, h, d, w, mo, y)")]
    NotAUnit(String),
    #[error("has '{0}' in it")]
    Has(char),
    #[error("is more than a sum of products")]
    NotASum,
    #[error("is not a span of time")]
    Misplaced,
    #[error("is not a finite number")]
    NotFinite,
}

impl Span {
    /// Reads a value.
    pub(crate) fn parse(text: &str) -> Result<Self, SpanError> {
        let seconds = sum(&tokens(text)?)?;
        if !seconds.is_finite() {
            return Err(SpanError::NotFinite);
        }
        if seconds < 0.0 {
            return Ok(Self::Permanent);
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is bounded on both sides")]
        let whole = seconds.min(1e15).round() as u64;
        Ok(Self::Seconds(whole))
    }

    /// Whether it is longer than a setting of wardend may be.
    pub(crate) fn is_too_long(self) -> bool {
        matches!(self, Self::Seconds(seconds) if seconds > LONGEST)
    }

    /// As a setting of wardend says it.
    pub(crate) fn text(self) -> String {
        // The largest unit without a remainder: "36h", "30days", "90s".
        const NAMES: [(u64, &str, &str); 5] =
            [(604_800, "week", "weeks"), (86_400, "day", "days"), (3600, "h", "h"), (60, "min", "min"), (1, "s", "s")];
        match self {
            Self::Seconds(seconds) if seconds <= LONGEST => {
                NAMES.iter().find(|(length, ..)| seconds >= *length && seconds.is_multiple_of(*length)).map_or_else(
                    || "0s".to_owned(),
                    |(length, one, many)| {
                        format!("{}{}", seconds / length, if seconds == *length { one } else { many })
                    },
                )
            }
            Self::Seconds(_) | Self::Permanent => "infinity".to_owned(),
        }
    }

    /// For comparisons: permanent is longest.
    pub(crate) fn seconds(self) -> u64 {
        match self {
            Self::Seconds(seconds) => seconds,
            Self::Permanent => u64::MAX,
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, SpanError> {
    // A comment by accident: an expression of Python ends at it.
    let text = text.split('#').next().unwrap_or_default();
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = |belongs: &dyn Fn(char) -> bool| rest.find(|c: char| !belongs(c)).unwrap_or(rest.len());
        let taken = if first.is_ascii_digit() || first == '.' {
            let taken = length(&|c| c.is_ascii_digit() || c == '.' || c == '_');
            let digits = rest[..taken].replace('_', "");
            tokens.push(Token::Number(digits.parse().map_err(|_| SpanError::NotANumber(rest[..taken].to_owned()))?));
            taken
        } else if first.is_ascii_alphabetic() {
            let taken = length(&|c| c.is_ascii_alphabetic());
            let word = rest[..taken].to_ascii_lowercase();
            let unit = UNITS.iter().find(|(_, words)| words.contains(&word.as_str()));
            let (seconds, _) = unit.ok_or_else(|| SpanError::NotAUnit(rest[..taken].to_owned()))?;
            tokens.push(Token::Unit(*seconds));
            taken
        } else if "+-*".contains(first) {
            if rest.starts_with("**") {
                return Err(SpanError::NotASum);
            }
            tokens.push(Token::Sign(first));
            1
        } else if "/()%".contains(first) {
            return Err(SpanError::NotASum);
        } else {
            return Err(SpanError::Has(first));
        };
        rest = rest[taken..].trim_start();
    }
    Ok(tokens)
}

/// Adds up the products. A number or product that follows another one without a sign is added to it.
fn sum(tokens: &[Token]) -> Result<f64, SpanError> {
    if tokens.is_empty() {
        return Err(SpanError::Empty);
    }
    let (mut sum, mut at, mut sign) = (0.0, 0, 1.0);
    if let Some(Token::Sign(first @ ('+' | '-'))) = tokens.first() {
        sign = if *first == '-' { -1.0 } else { 1.0 };
        at = 1;
    }
    loop {
        let mut product = sign;
        // A factor is a number with or without a unit.
        loop {
            let Some(Token::Number(number)) = tokens.get(at) else { return Err(SpanError::Misplaced) };
            product *= number;
            at += 1;
            if let Some(Token::Unit(unit)) = tokens.get(at) {
                product *= unit;
                at += 1;
            }
            if tokens.get(at) != Some(&Token::Sign('*')) {
                break;
            }
            at += 1;
            if let Some(Token::Sign('-')) = tokens.get(at) {
                product = -product;
                at += 1;
            }
        }
        sum += product;
        sign = match tokens.get(at) {
            None => return Ok(sum),
            Some(Token::Sign('-')) => -1.0,
            Some(Token::Sign('+') | Token::Number(_)) => 1.0,
            Some(_) => return Err(SpanError::Misplaced),
        };
        if matches!(tokens.get(at), Some(Token::Sign(_))) {
            at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_those_that_fail2ban_makes_of_the_same_words() {
        // The numbers are what its own reader answers.
        for (text, seconds, ours) in [
            ("600", 600, "10min"),
            ("3600", 3600, "1h"),
            ("86400", 86_400, "1day"),
            ("604800", 604_800, "1week"),
            ("1209600", 1_209_600, "2weeks"),
            ("2592000", 2_592_000, "30days"),
            ("31536000", 31_536_000, "365days"),
            ("90", 90, "90s"),
            ("10m", 600, "10min"),
            ("10M", 600, "10min"),
            ("1M", 60, "1min"),
            ("1mo", 2_629_800, "43830min"),
            ("6 months", 15_778_800, "4383h"),
            ("24h", 86_400, "1day"),
            ("24H", 86_400, "1day"),
            ("36h", 129_600, "36h"),
            ("1d", 86_400, "1day"),
            ("1d12h", 129_600, "36h"),
            ("1d 12h", 129_600, "36h"),
            ("0d 1h 30m", 5400, "90min"),
            ("1h+30min", 5400, "90min"),
            ("1h - 30m", 1800, "30min"),
            ("1year-6mo", 15_778_800, "4383h"),
            ("1w", 604_800, "1week"),
            ("4w", 2_419_200, "4weeks"),
            ("5weeks", 3_024_000, "5weeks"),
            ("1 week", 604_800, "1week"),
            ("360d", 31_104_000, "360days"),
            ("336h", 1_209_600, "2weeks"),
            ("1y", 31_557_600, "8766h"),
            ("60*60", 3600, "1h"),
            ("3600 * 24", 86_400, "1day"),
            ("24*60*60", 86_400, "1day"),
            ("60 * 60 * 24 * 7", 604_800, "1week"),
            ("2*1h", 7200, "2h"),
            ("1h*2", 7200, "2h"),
            ("1.5h", 5400, "90min"),
            ("0.5d", 43_200, "12h"),
            ("10m30", 630, "630s"),
            ("10 20", 30, "30s"),
            ("3_600", 3600, "1h"),
            ("1h\n30m", 5400, "90min"),
            ("600 # ten minutes", 600, "10min"),
            ("0", 0, "0s"),
            ("99999999999", 99_999_999_999, "infinity"),
        ] {
            let span = Span::parse(text);
            assert_eq!(span, Ok(Span::Seconds(seconds)), "{text}");
            assert_eq!(span.unwrap().text(), ours, "{text}");
        }
        for text in ["-1", "-1d", "-1  # permanent", "- 1", "-1h 30m", "1d - 2d", "2*-1"] {
            assert_eq!(Span::parse(text), Ok(Span::Permanent), "{text}");
        }
    }

    #[test]
    fn whatever_is_no_sum_of_products_is_refused() {
        for (text, says) in [
            ("", "is empty"),
            ("# comment", "is empty"),
            ("forever", "'forever', which is not a unit"),
            ("10mins", "'mins', which is not a unit"),
            ("2**20", "more than a sum of products"),
            ("(60*60)", "more than a sum of products"),
            ("3600/2", "more than a sum of products"),
            ("__import__('os')", "has '_' in it"),
            ("1e3", "'e', which is not a unit"),
            ("10 m h", "is not a span of time"),
            ("m", "is not a span of time"),
            ("1h +", "is not a span of time"),
            ("* 3", "is not a span of time"),
            ("1..2", "is not a number"),
            ("--1", "is not a span of time"),
            ("10\u{661}m", "in it"),
            ("<bantime>", "has '<' in it"),
        ] {
            let error = Span::parse(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
