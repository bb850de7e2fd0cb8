//! The key file of a TSIG key. Knows its two spellings; its errors never hold what stands in it.

use super::super::DriverError;
use data_encoding::BASE64;
use hickory_proto::rr::rdata::tsig::TsigAlgorithm;
use hickory_proto::rr::{Name, TSigner};
use std::path::Path;

/// Allowed difference between the clocks of server and agent, in seconds (RFC 8945 §10).
const FUDGE_SECONDS: u16 = 300;
/// Largest key file read, in bytes.
const FILE_BYTES_MAX: u64 = 16 * 1024;

/// Read a key file: BIND's `key "name" { algorithm hmac-sha256; secret "…"; };`, or one line
/// `name:hmac-sha256:secret` (or `hmac-sha256:name:secret`, as nsupdate takes it).
///
/// # Errors
/// `Refused` with what is wrong and the remedy, without a byte of the file.
pub async fn read(path: &Path) -> Result<TSigner, DriverError> {
    let fault =
        |why: String| DriverError::Refused(format!("tsig_key_file {}: {why}", path.display()));
    let about = tokio::fs::metadata(path).await.map_err(|error| fault(error.to_string()))?;
    if !about.is_file() || about.len() > FILE_BYTES_MAX {
        return Err(fault(format!("is no file of up to {FILE_BYTES_MAX} bytes")));
    }
    let text = tokio::fs::read_to_string(path).await.map_err(|error| fault(error.to_string()))?;
    parse(&text).map_err(|why| fault(why.to_owned()))
}

const SPELLING: &str = "holds no key; write it as tsig-keygen does, or as name:hmac-sha256:secret";

pub(crate) fn parse(text: &str) -> Result<TSigner, &'static str> {
    let text = uncommented(text);
    let (name, algorithm, secret) = statement(&text).or_else(|| line(&text)).ok_or(SPELLING)?;
    let algorithm = match algorithm.to_ascii_lowercase().as_str() {
        "hmac-sha256" => TsigAlgorithm::HmacSha256,
        "hmac-sha384" => TsigAlgorithm::HmacSha384,
        "hmac-sha512" => TsigAlgorithm::HmacSha512,
        _ => return Err("its algorithm is none of hmac-sha256, hmac-sha384 and hmac-sha512"),
    };
    let secret: String = secret.split_whitespace().collect();
    let secret = BASE64.decode(secret.as_bytes()).map_err(|_| "its secret is not base64")?;
    if secret.is_empty() {
        return Err("its secret is empty");
    }
    let name = Name::from_ascii(name.to_ascii_lowercase()).map_err(|_| "its name is no name")?;
    TSigner::new(secret, algorithm, name, FUDGE_SECONDS).map_err(|_| "it cannot be used")
}

/// Without `#`, `//` and `/* */` comments. Base64 has `/` too, so that only a `//` at the start of
/// a word counts.
fn uncommented(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("/*") {
        plain.push_str(&rest[..start]);
        rest = rest[start..].split_once("*/").map_or("", |(_, after)| after);
    }
    plain.push_str(rest);
    let comment =
        |line: &str| line.trim_start().starts_with("//") || line.trim_start().starts_with('#');
    plain.lines().filter(|line| !comment(line)).collect::<Vec<_>>().join("\n")
}

fn statement(text: &str) -> Option<(&str, &str, &str)> {
    let rest = text.trim_start().strip_prefix("key")?;
    let (name, body) = rest.split_once('{')?;
    let body = body.split_once('}')?.0;
    let field = |word: &str| {
        let line = body.split(';').map(str::trim).find(|line| line.starts_with(word))?;
        Some(line[word.len()..].trim().trim_matches('"'))
    };
    Some((name.trim().trim_matches('"'), field("algorithm")?, field("secret")?))
}

fn line(text: &str) -> Option<(&str, &str, &str)> {
    let mut parts = text.trim().splitn(3, ':').map(str::trim);
    let (first, second, secret) = (parts.next()?, parts.next()?, parts.next()?);
    let starts = |word: &str| word.to_ascii_lowercase().starts_with("hmac-");
    if starts(first) { Some((second, first, secret)) } else { Some((first, second, secret)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTEyMzQ=";

    #[test]
    fn each_spelling_gives_the_same_key() {
        for text in [
            format!(
                "# made by hand\nkey \"K.example\" {{\n\talgorithm hmac-sha256;\n\tsecret \"{SECRET}\";\n}};\n"
            ),
            format!("key K.example {{ /* old */ algorithm HMAC-SHA256; secret {SECRET}; }};"),
            format!("K.example:hmac-sha256:{SECRET}\n"),
            format!("hmac-sha256:k.example.:{SECRET}"),
        ] {
            let key = parse(&text).unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!(key.signer_name().to_string(), "k.example.");
            assert_eq!(key.key(), b"secret-secret-secret-secret-1234");
        }
    }

    #[test]
    fn a_fault_never_tells_the_secret() {
        for text in [
            "",
            "hunter2",
            "key k { algorithm hmac-sha256; }",
            "key k { algorithm hmac-md5; secret \"hunter2\"; }",
            "k:hmac-sha256:hunter2!",
            "k:hmac-sha256:",
        ] {
            let why = parse(text).err().expect(text);
            assert!(!why.contains("hunter2"), "{why}");
        }
    }
}
