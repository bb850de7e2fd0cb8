//! Label and field selectors, as far as clients here write them.

use serde_json::Value;

/// Whether `item` has the labels that `selector` wants.
pub fn labels(selector: &str, item: &Value) -> bool {
    requirements(selector).all(|one| {
        let label = |key: &str| item["metadata"]["labels"][key.trim()].as_str();
        if let Some((key, values)) = one.split_once(" in ") {
            let values = values.trim().trim_matches(['(', ')']).split(',').map(str::trim);
            return label(key).is_some_and(|label| values.into_iter().any(|v| v == label));
        }
        compare(&one, label)
    })
}

/// Whether `item` has the fields that `selector` wants.
pub fn fields(selector: &str, item: &Value) -> bool {
    requirements(selector).all(|one| {
        compare(&one, |key| {
            let field = item.pointer(&format!("/{}", key.trim().replace('.', "/")));
            Some(field.and_then(Value::as_str).unwrap_or(""))
        })
    })
}

fn compare<'a>(one: &str, value: impl Fn(&str) -> Option<&'a str>) -> bool {
    if let Some((key, not)) = one.split_once("!=") {
        return value(key) != Some(not.trim());
    }
    match one.split_once('=') {
        Some((key, wanted)) => value(key) == Some(wanted.trim_start_matches('=').trim()),
        None => match one.strip_prefix('!') {
            Some(key) => value(key).is_none(),
            None => value(one).is_some(),
        },
    }
}

/// Separated by commas outside of parentheses.
fn requirements(selector: &str) -> impl Iterator<Item = String> {
    let (mut parts, mut depth) = (vec![String::new()], 0i32);
    for c in selector.chars() {
        depth += i32::from(c == '(') - i32::from(c == ')');
        match parts.last_mut() {
            Some(part) if c != ',' || depth > 0 => part.push(c),
            _ => parts.push(String::new()),
        }
    }
    parts.into_iter().filter(|part| !part.trim().is_empty())
}
