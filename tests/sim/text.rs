//! How a scenario file writes values: a word, then `key=value` for each field; `key` alone is true,
//! and times are seconds. Knows no kind of value.

use super::clock::Nanos;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// `value` as words. A variant of an enum begins with its name.
pub fn words<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(name)) => name,
        Ok(Value::Object(fields)) => {
            let mut fields = fields;
            if let Some((name, Value::Object(inner))) = variant(&fields) {
                let (name, inner) = (name.clone(), inner.clone());
                fields = inner;
                return format!("{name} {}", of_fields(&fields)).trim_end().to_owned();
            }
            of_fields(&fields)
        }
        other => unreachable!("scenarios hold structs and variants only, not {other:?}"),
    }
}

fn variant(fields: &Map<String, Value>) -> Option<(&String, &Value)> {
    (fields.len() == 1).then(|| fields.iter().next()).flatten()
}

fn of_fields(fields: &Map<String, Value>) -> String {
    let words = fields.iter().filter_map(|(key, value)| match value {
        Value::Bool(false) | Value::Null => None,
        Value::Bool(true) => Some(key.clone()),
        Value::String(text) => Some(format!("{key}={text}")),
        other => Some(format!("{key}={other}")),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The fields of a struct.
///
/// # Errors
/// What is wrong with them.
pub fn parse<T: DeserializeOwned>(words: &str) -> Result<T, String> {
    from(Value::Object(fields(words)))
}

/// A variant of an enum: its name, then its fields.
///
/// # Errors
/// What is wrong with it.
pub fn parse_variant<T: DeserializeOwned>(words: &str) -> Result<T, String> {
    let (name, rest) = words.trim().split_once(' ').unwrap_or((words.trim(), ""));
    let fields = fields(rest);
    if fields.is_empty()
        && let Ok(unit) = from(Value::String(name.to_owned()))
    {
        return Ok(unit);
    }
    from(Value::Object(Map::from_iter([(name.to_owned(), Value::Object(fields))])))
}

fn fields(words: &str) -> Map<String, Value> {
    let pairs = words.split_whitespace().map(|word| match word.split_once('=') {
        None => (word.to_owned(), Value::Bool(true)),
        Some((key, text)) => {
            let number = text.parse::<i64>().map(Value::from);
            (key.to_owned(), number.unwrap_or_else(|_| Value::from(text)))
        }
    });
    pairs.collect()
}

fn from<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|fault| fault.to_string())
}

/// A time as text, in seconds.
pub fn seconds(time: Nanos) -> String {
    let text = format!("{}.{:09}", time / 1_000_000_000, time % 1_000_000_000);
    format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
}

/// The time that a text names.
///
/// # Errors
/// Where it names none.
pub fn time(text: &str) -> Result<Nanos, String> {
    let fault = || format!("{text:?} is no time such as 12.5s");
    let digits = text.strip_suffix('s').ok_or_else(fault)?;
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    if part.len() > 9 {
        return Err(fault());
    }
    let nanos = format!("{part:0<9}").parse::<Nanos>().map_err(|_| fault())?;
    let whole = whole.parse::<Nanos>().map_err(|_| fault())?;
    whole.checked_mul(1_000_000_000).and_then(|all| all.checked_add(nanos)).ok_or_else(fault)
}

/// Times as text.
pub mod span {
    use super::super::clock::Nanos;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// See [`super::seconds`].
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(time: &Nanos, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::seconds(*time))
    }

    /// See [`super::time`].
    ///
    /// # Errors
    /// Where it is no time.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Nanos, D::Error> {
        super::time(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// Lists as text, with commas.
pub mod list {
    use serde::de::{DeserializeOwned, Error};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::Value;

    /// The items, with commas between them.
    ///
    /// # Errors
    /// Where an item is no word or number.
    pub fn serialize<S: Serializer, T: Serialize>(of: &[T], to: S) -> Result<S::Ok, S::Error> {
        let words = of.iter().map(|item| match serde_json::to_value(item) {
            Ok(Value::String(text)) => text,
            other => other.map_or_else(|fault| fault.to_string(), |item| item.to_string()),
        });
        to.serialize_str(&words.collect::<Vec<_>>().join(","))
    }

    /// What [`serialize`] wrote.
    ///
    /// # Errors
    /// Where an item is none of those.
    pub fn deserialize<'de, D: Deserializer<'de>, T: DeserializeOwned>(
        from: D,
    ) -> Result<Vec<T>, D::Error> {
        let text = match Value::deserialize(from)? {
            Value::String(text) => text,
            other => other.to_string(),
        };
        let item = |word: &str| {
            let number = word.parse::<i64>().map(Value::from);
            serde_json::from_value(number.unwrap_or_else(|_| Value::from(word)))
        };
        let items = text.split(',').filter(|word| !word.is_empty()).map(item);
        items.collect::<Result<_, _>>().map_err(D::Error::custom)
    }
}
