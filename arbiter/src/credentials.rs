//! The Authorization of a request, from a file that is read each time it is used. Knows the two
//! schemes; never who asks, and shows nothing of what the file holds.

use data_encoding::BASE64;
use reqwest::header::HeaderValue;
use tokio::io::AsyncReadExt;

/// Setting that names a file with a token for `Bearer` (RFC 6750).
pub const BEARER_FILE: &str = "bearer_file";
/// Setting that names a file with `user:password` for `Basic` (RFC 7617).
pub const BASIC_AUTH_FILE: &str = "basic_auth_file";
/// Greatest size of such a file, in bytes.
const FILE_BYTES_MAX: u64 = 16 * 1024;

/// Where a secret stands, and how it is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing is sent.
    #[default]
    None,
    /// The file with a token.
    Bearer(String),
    /// The file with `user:password`.
    Basic(String),
}

impl Credentials {
    /// Of the two settings, of which one at most is there.
    pub fn of(bearer_file: Option<&String>, basic_auth_file: Option<&String>) -> Self {
        match (bearer_file, basic_auth_file) {
            (Some(file), _) => Self::Bearer(file.clone()),
            (None, Some(file)) => Self::Basic(file.clone()),
            (None, None) => Self::None,
        }
    }

    /// The header's value, never shown; none where nothing is sent.
    ///
    /// # Errors
    /// Why the file cannot be used, with its name and never its content.
    pub async fn header(&self) -> Result<Option<HeaderValue>, String> {
        let value = match self {
            Self::None => return Ok(None),
            Self::Bearer(file) => format!("Bearer {}", secret(file).await?),
            Self::Basic(file) => format!("Basic {}", BASE64.encode(secret(file).await?.as_bytes())),
        };
        let (Self::Bearer(file) | Self::Basic(file)) = self else { return Ok(None) };
        let mut value = HeaderValue::try_from(value)
            .map_err(|_| format!("{file} holds what no header can: write one line of ASCII"))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

/// What a file holds, without the blanks around it.
async fn secret(file: &str) -> Result<String, String> {
    let opened = tokio::fs::File::open(file).await;
    let opened = opened.map_err(|error| format!("{file} cannot be read: {error}"))?;
    let mut text = String::new();
    let read = opened.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).await;
    let read = read.map_err(|_| format!("{file} is no text"))?;
    let text = text.trim();
    if text.is_empty() || read as u64 > FILE_BYTES_MAX {
        return Err(format!("{file} holds no secret: it is empty, or over {FILE_BYTES_MAX} bytes"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn header(text: &str, of: fn(String) -> Credentials) -> Result<String, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let value = of(file.path().display().to_string()).header().await?;
        let value = value.expect("something is sent");
        assert!(value.is_sensitive());
        Ok(value.to_str().unwrap().to_owned())
    }

    #[tokio::test]
    async fn a_file_becomes_a_header() {
        assert_eq!(header("abc\n", Credentials::Bearer).await.unwrap(), "Bearer abc");
        let basic = header("Aladdin:open sesame\n", Credentials::Basic).await.unwrap();
        assert_eq!(basic, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "the example of RFC 7617");
        assert_eq!(Credentials::None.header().await, Ok(None));
    }

    #[tokio::test]
    async fn what_a_file_holds_is_in_no_error() {
        let long = "hunter2".repeat(3000);
        for text in ["", " \n", "hunter2\nhunter2", &long] {
            let error = header(text, Credentials::Bearer).await.unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
        let missing = Credentials::Bearer("/nowhere/token".to_owned()).header().await.unwrap_err();
        assert!(missing.starts_with("/nowhere/token cannot be read"), "{missing}");
    }
}
