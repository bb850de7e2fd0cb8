//! Who asks a place. Knows files with secrets and how long what they gave is kept; shows none.

use super::bounded::Bounded;
use super::fault::Fault;
use super::place::{Access, Place, Principal};
use crate::clock;
use crate::drivers::aws;
use arbiter_core::Instant;
use async_trait::async_trait;
use object_store::aws::{AmazonS3Builder, AwsCredential, AwsCredentialProvider};
use object_store::azure::{AzureConfigKey, AzureCredentialProvider, MicrosoftAzureBuilder};
use object_store::client::ClientOptions;
use object_store::{CredentialProvider, ObjectStore, RetryConfig};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// How long AWS credentials that say nothing of their end are kept: a file may be changed.
const KEPT_MAX: Duration = Duration::from_secs(300);
/// Credentials are asked for anew this long before they end.
const BEFORE_END: Duration = Duration::from_secs(300);
/// Greatest size of a file with a secret, in bytes.
const SECRET_BYTES_MAX: u64 = 16 * 1024;

/// What signs requests to a place.
pub enum Signer {
    /// S3, with the region that requests are signed for.
    S3(AwsCredentialProvider, String),
    /// Azure, with the account; before the store is built, the provider is none.
    Azure(Option<AzureCredentialProvider>, String),
}

impl Signer {
    /// Look for the credentials of `place`.
    pub async fn open(place: &Place) -> Result<Self, Fault> {
        match place {
            Place::S3 { source, .. } => {
                if let Some(path) = &source.credentials_file {
                    secret("credentials_file", path)?;
                }
                let none = || Fault::no_credentials(NO_AWS);
                let chain = source.chain().await.ok_or_else(none)?;
                let provider = Arc::new(Kept { chain, last: Mutex::new(None) });
                Ok(Self::S3(provider, source.region.clone()))
            }
            Place::Azure { account, .. } => Ok(Self::Azure(None, account.clone())),
        }
    }

    /// The store's client of `place`, and this signer for requests beside it.
    pub fn store(
        self,
        place: &Place,
        options: &ClientOptions,
        retry: &RetryConfig,
    ) -> Result<(Arc<dyn ObjectStore>, Self), Fault> {
        let (options, retry) = (options.clone(), retry.clone());
        match (place, self) {
            (Place::S3 { bucket, .. }, Self::S3(provider, region)) => {
                let url = place.url();
                let endpoint = url.strip_suffix(bucket).unwrap_or(&url).trim_end_matches('/');
                let store = AmazonS3Builder::new()
                    .with_bucket_name(bucket)
                    .with_region(&region)
                    .with_endpoint(endpoint)
                    .with_credentials(provider.clone())
                    .with_client_options(options)
                    .with_http_connector(Bounded::default())
                    .with_retry(retry)
                    .build()?;
                Ok((Arc::new(store), Self::S3(provider, region)))
            }
            (Place::Azure { account, container, endpoint_url, access }, _) => {
                let builder = MicrosoftAzureBuilder::new()
                    .with_account(account)
                    .with_container_name(container)
                    .with_client_options(options)
                    .with_http_connector(Bounded::default())
                    .with_retry(retry);
                let builder = match endpoint_url {
                    Some(url) => builder.with_endpoint(url.clone()),
                    None => builder,
                };
                let store = with_access(builder, access)?.build()?;
                let provider = store.credentials().clone();
                Ok((Arc::new(store), Self::Azure(Some(provider), account.clone())))
            }
            (Place::S3 { .. }, Self::Azure(..)) => Err(Fault::garbage("the place has changed")),
        }
    }
}

const NO_AWS: &str = "no AWS credentials are found: set credentials_file, or give the agent's host \
                      a role";

fn with_access(
    builder: MicrosoftAzureBuilder,
    access: &Access,
) -> Result<MicrosoftAzureBuilder, Fault> {
    let kind = |builder: MicrosoftAzureBuilder, kind| {
        builder.with_config(AzureConfigKey::CredentialType, kind)
    };
    let of = |builder: MicrosoftAzureBuilder, principal: &Principal| {
        let builder = builder
            .with_config(AzureConfigKey::AuthorityId, &principal.tenant)
            .with_config(AzureConfigKey::ClientId, &principal.client);
        match &principal.authority {
            Some(host) => builder.with_authority_host(host),
            None => builder,
        }
    };
    Ok(match access {
        Access::Key(path) => {
            let key = secret("access_key_file", path)?;
            kind(builder, "access_key").with_access_key(key)
        }
        Access::Secret(principal, path) => {
            let text = secret("client_secret_file", path)?;
            let builder = of(kind(builder, "client_secret"), principal);
            builder.with_config(AzureConfigKey::ClientSecret, text)
        }
        Access::Workload(principal, path) => {
            secret("federated_token_file", path)?;
            let builder = of(kind(builder, "workload_identity"), principal);
            builder.with_config(AzureConfigKey::FederatedTokenFile, path)
        }
        Access::Managed(client) => {
            let builder = kind(builder, "managed_identity");
            match client {
                Some(client) => builder.with_config(AzureConfigKey::ClientId, client),
                None => builder,
            }
        }
    })
}

/// The secret in a file. What is wrong names the setting and the file, never what is in it.
pub fn secret(setting: &str, path: &str) -> Result<String, Fault> {
    let wrong = |what: String| Fault::no_credentials(&format!("{setting} {path} {what}"));
    let size = std::fs::metadata(Path::new(path))
        .map_err(|error| wrong(format!("cannot be read: {}", error.kind())))?
        .len();
    if size > SECRET_BYTES_MAX {
        return Err(wrong(format!("has more than {SECRET_BYTES_MAX} bytes")));
    }
    let text = std::fs::read_to_string(path)
        .map_err(|error| wrong(format!("cannot be read: {}", error.kind())))?;
    let text = text.trim();
    if text.is_empty() { Err(wrong("is empty".to_owned())) } else { Ok(text.to_owned()) }
}

/// AWS credentials, kept while they last.
#[derive(Debug)]
struct Kept {
    chain: aws::Chain,
    last: Mutex<Option<(Arc<AwsCredential>, Instant)>>,
}

#[async_trait]
impl CredentialProvider for Kept {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let mut last = self.last.lock().await;
        let now = clock::now();
        if let Some((credential, until)) = last.as_ref()
            && now < *until
        {
            return Ok(credential.clone());
        }
        let Some(found) = self.chain.ask().await else {
            let fault = Fault::no_credentials(NO_AWS);
            return Err(object_store::Error::Generic { store: "S3", source: Box::new(fault) });
        };
        let left =
            found.expires.map(|at| Duration::from_millis(at.saturating_sub(clock::wall().0)));
        let kept = left.map_or(KEPT_MAX, |left| left.saturating_sub(BEFORE_END));
        let credential = Arc::new(AwsCredential {
            key_id: found.key_id,
            secret_key: found.secret,
            token: found.session,
        });
        *last = Some((credential.clone(), now + kept));
        Ok(credential)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_and_what_is_wrong_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let path = path.to_str().unwrap();
        let said = |path| secret("access_key_file", path).map_err(|fault| fault.to_string());
        assert!(said(path).unwrap_err().contains("access_key_file"));
        std::fs::write(path, " \n").unwrap();
        assert!(said(path).unwrap_err().contains("is empty"));
        std::fs::write(path, "hunter2\n").unwrap();
        assert_eq!(said(path).unwrap(), "hunter2");
        std::fs::write(path, vec![b'x'; 20_000]).unwrap();
        let said = said(path).unwrap_err();
        assert!(said.contains("more than") && !said.contains("xxx"), "{said}");
    }
}
