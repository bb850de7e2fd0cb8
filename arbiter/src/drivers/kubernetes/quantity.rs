//! Kubernetes quantities as whole numbers, and back for people. Knows the notation
//! (`apimachinery/pkg/api/resource`, Quantity) only.

/// Thousandths of the unit; none for what is no quantity. Rounded up, as Kubernetes does.
pub fn millis(text: &str) -> Option<i128> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, rest) = rest.split_at(digits(rest));
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(digits(rest)),
        None => ("", rest),
    };
    if (whole.is_empty() && fraction.is_empty()) || whole.len() > 18 || fraction.len() > 9 {
        return None;
    }
    let (up, down) = scale(suffix)?;
    let number: i128 = format!("{whole}{fraction}").parse().ok()?;
    let below = 10i128.checked_pow(u32::try_from(fraction.len()).ok()?)?.checked_mul(down)?;
    let above = number.checked_mul(up)?.checked_mul(1000)?;
    let rounded = above / below + i128::from(above % below != 0);
    Some(if negative { -rounded } else { rounded })
}

/// By what a number with this suffix is multiplied, and divided.
fn scale(suffix: &str) -> Option<(i128, i128)> {
    let ten = |power: u32| Some((10i128.pow(power), 1));
    let two = |power: u32| Some((1i128 << power, 1));
    match suffix {
        "" => ten(0),
        "n" => Some((1, 1_000_000_000)),
        "u" => Some((1, 1_000_000)),
        "m" => Some((1, 1000)),
        "k" => ten(3),
        "M" => ten(6),
        "G" => ten(9),
        "T" => ten(12),
        "P" => ten(15),
        "E" => ten(18),
        "Ki" => two(10),
        "Mi" => two(20),
        "Gi" => two(30),
        "Ti" => two(40),
        "Pi" => two(50),
        "Ei" => two(60),
        _ => {
            let power: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let size = 10i128.checked_pow(power.unsigned_abs()).filter(|_| power.abs() <= 18)?;
            Some(if power < 0 { (1, size) } else { (size, 1) })
        }
    }
}

/// How much of `resource` that is, for people: `500m`, `3`, `1.5Gi`.
pub fn show(resource: &str, millis: i128) -> String {
    let bytes = ["memory", "storage"].iter().any(|word| resource.contains(word));
    if !bytes {
        let (whole, part) = (millis / 1000, millis % 1000);
        return if part == 0 { whole.to_string() } else { format!("{millis}m") };
    }
    let bytes = millis / 1000;
    for (suffix, size) in [("Gi", 1i128 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)] {
        if bytes.abs() >= size {
            let tenths = bytes * 10 / size;
            let (whole, part) = (tenths / 10, (tenths % 10).abs());
            let part = if part == 0 { String::new() } else { format!(".{part}") };
            return format!("{whole}{part}{suffix}");
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_notation_is_read() {
        for (text, wanted) in [
            ("1", 1000),
            ("500m", 500),
            ("0.5", 500),
            (".5", 500),
            ("1.", 1000),
            ("100u", 1),
            ("1n", 1),
            ("-1", -1000),
            ("+2", 2000),
            ("2k", 2_000_000),
            ("1Ki", 1_024_000),
            ("1.5Gi", 1_610_612_736_000),
            ("129e6", 129_000_000_000),
            ("5E-1", 500),
            ("1E", 1_000_000_000_000_000_000_000),
            ("8Ei", (8i128 << 60) * 1000),
        ] {
            assert_eq!(millis(text), Some(wanted), "{text}");
        }
        for text in ["", "m", "1 Gi", "1Kib", "0x5", "1e999", "9999999999999999999"] {
            assert_eq!(millis(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_are_shown_as_people_write_them() {
        assert_eq!(show("cpu", 1500), "1500m");
        assert_eq!(show("cpu", 3000), "3");
        assert_eq!(show("memory", 1_610_612_736_000), "1.5Gi");
        assert_eq!(show("memory", 512_000), "512");
        assert_eq!(show("pods", 2000), "2");
    }
}
