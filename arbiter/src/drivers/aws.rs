//! Where credentials for AWS come from: files, profiles and the chain that AWS's own tools walk.
//!
//! Knows sources. Never knows what is signed with them, and never shows one.

use aws_config::{BehaviorVersion, ConfigLoader, Region};
use aws_sdk_route53::config::{ProvideCredentials, SharedCredentialsProvider};

/// Where to look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Region that requests are signed for.
    pub region: String,
    /// Profile; none: as AWS's tools choose.
    pub profile: Option<String>,
    /// File with credentials, as AWS's tools write it; none: the chain of AWS's tools.
    pub credentials_file: Option<String>,
}

impl Source {
    /// What every client of AWS begins with.
    pub fn loader(&self) -> ConfigLoader {
        use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build_https();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http)
            .region(Region::new(self.region.clone()));
        if let Some(profile) = &self.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(path) = &self.credentials_file {
            loader = loader.profile_files(credentials(path));
        }
        loader
    }

    /// The chain of sources, opened; none where it has none.
    pub async fn chain(&self) -> Option<Chain> {
        self.loader().load().await.credentials_provider().map(Chain)
    }
}

#[allow(deprecated, reason = "the new name of these types is in a crate that is not public API")]
fn credentials(path: &str) -> aws_config::profile::profile_file::ProfileFiles {
    use aws_config::profile::profile_file::{ProfileFileKind, ProfileFiles};
    ProfileFiles::builder().with_file(ProfileFileKind::Credentials, path).build()
}

/// Sources, asked in their order.
#[derive(Debug)]
pub struct Chain(SharedCredentialsProvider);

/// What a source gave. It has no `Debug`: nothing shows it.
pub struct Secret {
    /// Access key id.
    pub key_id: String,
    /// Secret access key.
    pub secret: String,
    /// Session token of temporary ones.
    pub session: Option<String>,
    /// Wall clock at which they expire, in milliseconds since 1970; none: never, as far as known.
    pub expires: Option<u64>,
}

impl Chain {
    /// Ask; none where no source has any. What a source says of a failure may quote a file, and is
    /// not passed on.
    pub async fn ask(&self) -> Option<Secret> {
        let found = self.0.provide_credentials().await.ok()?;
        let since_1970 = |at: std::time::SystemTime| at.duration_since(std::time::UNIX_EPOCH).ok();
        Some(Secret {
            key_id: found.access_key_id().to_owned(),
            secret: found.secret_access_key().to_owned(),
            session: found.session_token().map(str::to_owned),
            expires: found.expiry().and_then(since_1970).map(|age| age.as_millis() as u64),
        })
    }
}
