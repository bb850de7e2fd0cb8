//! Values that stand right of an equals sign. Knows their notation; never which key they serve.

use crate::fault::suggest;
use std::time::Duration;
use toml::de::DeValue;

/// Why a value was not taken: what is wrong, and the remedy.
pub(crate) type Wrong = (String, String);

/// A value of one key.
pub(crate) trait Scalar: Sized {
    /// What it looks like, for `reference.toml`.
    fn notation() -> String;
    /// Read it.
    fn read(value: &DeValue<'_>) -> Result<Self, Wrong>;
    /// Write it as TOML.
    fn show(&self) -> String;
    /// Stands in for a missing or faulty one; never leaves this crate.
    fn placeholder() -> Self;
}

fn not_a(value: &DeValue<'_>, wanted: &str) -> Wrong {
    (format!("is a {}", value.type_str()), format!("write {wanted}"))
}

impl Scalar for String {
    fn notation() -> String {
        "text".to_owned()
    }
    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        match value.as_str() {
            Some(text) if !text.trim().is_empty() => Ok(text.to_owned()),
            Some(_) => Err(("is empty".to_owned(), "give it a value or leave the key out".into())),
            None => Err(not_a(value, "text in double quotes")),
        }
    }
    fn show(&self) -> String {
        format!("{self:?}")
    }
    fn placeholder() -> Self {
        String::new()
    }
}

impl Scalar for bool {
    fn notation() -> String {
        "true or false".to_owned()
    }
    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        value.as_bool().ok_or_else(|| not_a(value, "true or false, without quotes"))
    }
    fn show(&self) -> String {
        self.to_string()
    }
    fn placeholder() -> Self {
        false
    }
}

impl Scalar for u64 {
    fn notation() -> String {
        "a whole number, 0 or more".to_owned()
    }
    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let number = value.as_integer().ok_or_else(|| not_a(value, "a whole number"))?;
        u64::from_str_radix(&number.as_str().replace('_', ""), number.radix())
            .map_err(|_| (format!("is {}", number.as_str()), "write a whole number from 0".into()))
    }
    fn show(&self) -> String {
        self.to_string()
    }
    fn placeholder() -> Self {
        0
    }
}

/// A number of 0 or more, exact to a millionth: no amount of money is a float.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Decimal {
    /// In millionths.
    pub micros: u64,
}

impl Decimal {
    /// Millionths of one.
    pub const ONE: u64 = 1_000_000;
    /// Digits behind the point.
    const PLACES: usize = 6;
    /// Greatest number that a file may hold: more is a typing error.
    const MAX: u64 = 1_000_000_000 * Self::ONE;

    /// Of digits with at most one point between; none for anything else, and above a thousand
    /// million. What is behind the sixth place must be 0.
    fn parse(text: &str) -> Option<Self> {
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(part) {
            return None;
        }
        let part = part.trim_end_matches('0');
        if part.len() > Self::PLACES {
            return None;
        }
        let micros = format!("{whole}{part:0<places$}", places = Self::PLACES);
        let micros = micros.parse().ok().filter(|micros| *micros <= Self::MAX)?;
        Some(Self { micros })
    }
}

/// With the digits that it needs and no more.
impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (whole, part) = (self.micros / Self::ONE, self.micros % Self::ONE);
        match part {
            0 => write!(f, "{whole}"),
            _ => write!(f, "{}", format!("{whole}.{part:06}").trim_end_matches('0')),
        }
    }
}

impl Scalar for Decimal {
    fn notation() -> String {
        "a number, 0 or more".to_owned()
    }
    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = match value {
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
            DeValue::Float(number) => number.as_str().to_owned(),
            other => return Err(not_a(other, "a number such as 0.0416, without quotes")),
        };
        Self::parse(&text.replace('_', "")).ok_or_else(|| {
            let remedy = "write a number from 0, such as 0.0416, with 6 digits behind the point \
                          at most";
            (format!("is {text}"), remedy.to_owned())
        })
    }
    fn show(&self) -> String {
        self.to_string()
    }
    fn placeholder() -> Self {
        Self::default()
    }
}

impl Scalar for Duration {
    fn notation() -> String {
        "a duration such as \"500ms\", \"8s\", \"15m\" or \"1h\"".to_owned()
    }
    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = value
            .as_str()
            .ok_or_else(|| not_a(value, "a duration with its unit, such as \"8s\""))?;
        duration(text).ok_or_else(|| {
            let what = format!("{text:?} is not a duration");
            (what, "write a number and ms, s, m or h, such as \"500ms\" or \"8s\"".to_owned())
        })
    }
    fn show(&self) -> String {
        format!("{:?}", show_duration(*self))
    }
    fn placeholder() -> Self {
        Duration::ZERO
    }
}

impl<T: Scalar> Scalar for Option<T> {
    fn notation() -> String {
        T::notation()
    }
    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        T::read(value).map(Some)
    }
    fn show(&self) -> String {
        self.as_ref().map(T::show).unwrap_or_default()
    }
    fn placeholder() -> Self {
        None
    }
}

/// Greatest duration that a file may ask for: a typing error beyond it would never be noticed.
const DURATION_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// `8s`, `500ms`, `1.5s`, `15m`, `1h`; none for anything else and above a week.
pub fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(digits);
    let millis_per_unit = match unit {
        "ms" => 1.0,
        "s" => 1_000.0,
        "m" => 60_000.0,
        "h" => 3_600_000.0,
        _ => return None,
    };
    if !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let millis = number.parse::<f64>().ok()? * millis_per_unit;
    let limit = DURATION_MAX.as_millis() as f64;
    (millis.is_finite() && millis <= limit).then(|| Duration::from_millis(millis.round() as u64))
}

/// In the unit that reads best.
pub(crate) fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    match millis {
        0 => "0s".to_owned(),
        _ if millis.is_multiple_of(3_600_000) => format!("{}h", millis / 3_600_000),
        _ if millis.is_multiple_of(60_000) && millis > 60_000 => format!("{}m", millis / 60_000),
        _ if millis.is_multiple_of(1_000) => format!("{}s", millis / 1_000),
        _ if millis > 1_000 => format!("{}s", millis as f64 / 1_000.0),
        _ => format!("{millis}ms"),
    }
}

/// Read one of a closed set of words.
pub(crate) fn word<T: Copy>(value: &DeValue<'_>, words: &[(&str, T)]) -> Result<T, Wrong> {
    let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
    let text = value
        .as_str()
        .ok_or_else(|| not_a(value, &format!("one of the words {}", names.join(", "))))?;
    match words.iter().find(|(name, _)| *name == text) {
        Some((_, found)) => Ok(*found),
        None => Err((format!("{text:?} is not known"), suggest(text, &names))),
    }
}

/// A closed set of words of the configuration.
macro_rules! words {
    (
        $(#[doc = $doc:literal])*
        $name:ident { $($(#[doc = $d:literal])* $variant:ident = $word:literal,)* }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[doc = $d])* $variant,)* }

        impl $name {
            /// The word in configuration.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
        impl $crate::scalar::Scalar for $name {
            fn notation() -> String {
                [$(concat!('"', $word, '"')),*].join(" | ")
            }
            fn read(value: &toml::de::DeValue<'_>) -> Result<Self, $crate::scalar::Wrong> {
                $crate::scalar::word(value, &[$(($word, Self::$variant)),*])
            }
            fn show(&self) -> String {
                format!("{:?}", self.as_str())
            }
            fn placeholder() -> Self {
                [$(Self::$variant),*][0]
            }
        }
    };
}
pub(crate) use words;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("8s"), Some(Duration::from_secs(8)));
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(duration("15m"), Some(Duration::from_secs(900)));
        for wrong in ["8", "s", "", "-1s", "8 s", "1e9s", "8sec", "1..2s", "99999h", "ms8"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn numbers_are_exact_to_a_millionth() {
        for (text, micros) in [("0", 0), ("4", 4_000_000), ("0.0416", 41_600), ("1.50", 1_500_000)]
        {
            assert_eq!(Decimal::parse(text), Some(Decimal { micros }), "{text}");
        }
        assert_eq!(Decimal::parse("0.000001").unwrap().to_string(), "0.000001");
        assert_eq!(Decimal::parse("2.500").unwrap().to_string(), "2.5");
        assert_eq!(Decimal::parse("30").unwrap().to_string(), "30");
        for wrong in ["", ".5", "5.", "-1", "1e3", "inf", "nan", "0.0000001", "1.2.3", "1000000001"]
        {
            assert_eq!(Decimal::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn durations_are_shown_as_they_are_read() {
        for text in ["0s", "500ms", "8s", "60s", "15m", "1h", "1.5s"] {
            assert_eq!(show_duration(duration(text).unwrap()), text);
        }
    }
}
