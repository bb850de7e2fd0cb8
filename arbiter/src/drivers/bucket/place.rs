//! Where a bucket or a container is, and with what it is asked, from settings. Knows names and
//! files; reads none.

use super::given::Given;
use crate::drivers::{DriverError, aws};
use cluster_config::{Setting, may};

/// Region of S3 where none is set.
const REGION_DEFAULT: &str = "us-east-1";
/// Settings that only S3 has.
pub const S3_ONLY: &[&str] = &["bucket", "aws_region", "profile", "credentials_file"];
/// Settings that only Azure has.
pub const AZURE_ONLY: &[&str] = &[
    "account",
    "container",
    "access_key_file",
    "tenant_id",
    "client_id",
    "client_secret_file",
    "federated_token_file",
    "authority_host",
];

/// Settings of a place, for a kind's table.
pub const BUCKET: Setting = may("bucket", "orders-eu", "S3: the bucket.");
/// See [`BUCKET`].
pub const REGION: Setting = may("aws_region", "eu-west-1", "S3: the bucket's region.");
/// See [`BUCKET`].
pub const PROFILE: Setting =
    may("profile", "arbiter", "S3: profile of the credentials; by default as AWS's tools choose.");
/// See [`BUCKET`].
pub const CREDENTIALS_FILE: Setting = may(
    "credentials_file",
    "/etc/arbiter/aws",
    "S3: file with credentials, as AWS's tools write it; by default their own chain of sources.",
);
/// See [`BUCKET`].
pub const ENDPOINT_URL: Setting = may(
    "endpoint_url",
    "http://127.0.0.1:5000",
    "URL of the service, where it is not AWS or Azure itself.",
);
/// See [`BUCKET`].
pub const ACCOUNT: Setting = may("account", "orderseu", "Azure: the storage account.");
/// See [`BUCKET`].
pub const CONTAINER: Setting = may("container", "orders", "Azure: the container.");
/// See [`BUCKET`].
pub const ACCESS_KEY_FILE: Setting =
    may("access_key_file", "/etc/arbiter/azure.key", "Azure: file with an account key.");
/// See [`BUCKET`].
pub const TENANT: Setting = may(
    "tenant_id",
    "00000000-0000-0000-0000-000000000000",
    "Azure: tenant of the service principal, for a client secret or workload identity.",
);
/// See [`BUCKET`].
pub const CLIENT: Setting = may(
    "client_id",
    "00000000-0000-0000-0000-000000000000",
    "Azure: its client id. Without any file the host's managed identity is used.",
);
/// See [`BUCKET`].
pub const CLIENT_SECRET_FILE: Setting =
    may("client_secret_file", "/etc/arbiter/azure.secret", "Azure: file with its client secret.");
/// See [`BUCKET`].
pub const FEDERATED_TOKEN_FILE: Setting = may(
    "federated_token_file",
    "/var/run/secrets/azure/tokens/azure-identity-token",
    "Azure: file with the token of workload identity.",
);
/// See [`BUCKET`].
pub const AUTHORITY_HOST: Setting = may(
    "authority_host",
    "https://login.microsoftonline.com",
    "Azure: who gives tokens, in another cloud than the public one.",
);

/// Whose service it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// Amazon S3, or a service that speaks its protocol.
    S3,
    /// Azure Blob Storage.
    Azure,
}

impl Provider {
    /// Settings that it has no use for, of those that were given.
    pub fn unused(self, given: Given<'_>) -> Vec<String> {
        let others = match self {
            Self::S3 => AZURE_ONLY,
            Self::Azure => S3_ONLY,
        };
        given.names().filter(|name| others.contains(name)).map(str::to_owned).collect()
    }
}

/// Who asks Azure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// A file with an account key.
    Key(String),
    /// A service principal, and the file with its secret.
    Secret(Principal, String),
    /// A service principal, and the file with its federated token.
    Workload(Principal, String),
    /// The host's managed identity, by client id where it has several.
    Managed(Option<String>),
}

/// A service principal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Its tenant.
    pub tenant: String,
    /// Its client id.
    pub client: String,
    /// Who gives tokens; none: the public cloud's.
    pub authority: Option<String>,
}

/// One bucket or container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A bucket.
    S3 {
        /// Its name.
        bucket: String,
        /// Where it is not AWS.
        endpoint_url: Option<String>,
        /// Who asks, and in which region.
        source: aws::Source,
    },
    /// A container.
    Azure {
        /// Its account.
        account: String,
        /// Its name.
        container: String,
        /// Where it is not Azure itself.
        endpoint_url: Option<String>,
        /// Who asks.
        access: Access,
    },
}

impl Place {
    /// Read it from settings.
    ///
    /// # Errors
    /// `Refused`, naming the setting and the remedy.
    pub fn read(given: Given<'_>, provider: Provider) -> Result<Self, DriverError> {
        let endpoint_url = given.url("endpoint_url")?;
        match provider {
            Provider::S3 => Ok(Self::S3 {
                bucket: name(given, "bucket", "orders-eu")?,
                endpoint_url,
                source: aws::Source {
                    region: given.text("aws_region").unwrap_or(REGION_DEFAULT).to_owned(),
                    profile: given.text("profile").map(str::to_owned),
                    credentials_file: given.path("credentials_file")?,
                },
            }),
            Provider::Azure => Ok(Self::Azure {
                account: name(given, "account", "orderseu")?,
                container: name(given, "container", "orders")?,
                endpoint_url,
                access: access(given)?,
            }),
        }
    }

    /// Whose service it is.
    pub fn provider(&self) -> Provider {
        match self {
            Self::S3 { .. } => Provider::S3,
            Self::Azure { .. } => Provider::Azure,
        }
    }

    /// Whether it is spoken to without TLS, because the URL says so.
    pub fn is_plain(&self) -> bool {
        let (Self::S3 { endpoint_url, .. } | Self::Azure { endpoint_url, .. }) = self;
        endpoint_url.as_ref().is_some_and(|url| url.starts_with("http://"))
    }

    /// URL of the bucket or container itself.
    pub fn url(&self) -> String {
        match self {
            Self::S3 { bucket, endpoint_url: Some(url), .. } => format!("{url}/{bucket}"),
            Self::S3 { bucket, source, .. } => {
                format!("https://s3.{}.{}/{bucket}", source.region, dns_suffix(&source.region))
            }
            Self::Azure { container, endpoint_url: Some(url), .. } => format!("{url}/{container}"),
            Self::Azure { account, container, .. } => {
                format!("https://{account}.blob.core.windows.net/{container}")
            }
        }
    }

    /// Its ARN; empty for a container.
    pub fn arn(&self) -> String {
        match self {
            Self::S3 { bucket, source, .. } => {
                format!("arn:{}:s3:::{bucket}", partition(&source.region))
            }
            Self::Azure { .. } => String::new(),
        }
    }
}

impl Place {
    /// The command with which an operator reads an object.
    pub fn reads(&self, key: &str) -> String {
        match self {
            Self::S3 { bucket, .. } => format!("aws s3 cp s3://{bucket}/{key} -"),
            Self::Azure { account, container, .. } => format!(
                "az storage blob download --account-name {account} --container-name {container} \
                 --name {key}"
            ),
        }
    }
}

impl std::fmt::Display for Place {
    /// As it is named in faults.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::S3 { bucket, .. } => write!(f, "bucket {bucket}"),
            Self::Azure { account, container, .. } => write!(f, "container {account}/{container}"),
        }
    }
}

fn partition(region: &str) -> &'static str {
    match region {
        china if china.starts_with("cn-") => "aws-cn",
        gov if gov.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

fn dns_suffix(region: &str) -> &'static str {
    if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
}

/// A name as both services allow it: it goes into URLs and policies as it is.
fn name(given: Given<'_>, key: &str, example: &str) -> Result<String, DriverError> {
    let name = given.must(key, example)?;
    let plain = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'$')
    };
    if (3..=63).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(name.to_owned());
    }
    Err(given.refuse(format!(
        "{key} is {name:?}: give 3 to 63 lower-case letters, digits, dots and hyphens"
    )))
}

fn access(given: Given<'_>) -> Result<Access, DriverError> {
    let key = given.path("access_key_file")?;
    let (secret, token) = (given.path("client_secret_file")?, given.path("federated_token_file")?);
    let principal = || {
        Ok::<_, DriverError>(Principal {
            tenant: given.must("tenant_id", TENANT.example)?.to_owned(),
            client: given.must("client_id", CLIENT.example)?.to_owned(),
            authority: given.url("authority_host")?,
        })
    };
    match (key, secret, token) {
        (Some(key), None, None) => Ok(Access::Key(key)),
        (None, Some(secret), None) => Ok(Access::Secret(principal()?, secret)),
        (None, None, Some(token)) => Ok(Access::Workload(principal()?, token)),
        (None, None, None) => Ok(Access::Managed(given.text("client_id").map(str::to_owned))),
        _ => Err(given.refuse(
            "give one of access_key_file, client_secret_file and federated_token_file, or none of \
             them for the host's managed identity",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arbiter_core::{Control, Fencing, Instance, InstanceId, Layer};

    fn read(provider: Provider, settings: &[(&str, &str)]) -> Result<Place, String> {
        let settings = settings.iter().map(|(key, value)| ((*key).into(), (*value).into()));
        let instance = Instance {
            resource: "files".into(),
            region: "eu".into(),
            agent: "agent-eu".into(),
            kind: "object-store".to_owned(),
            layer: Layer::Data,
            fencing: Fencing::BestEffort,
            control: Control::Api,
            evidence: Default::default(),
            waits: false,
            address: String::new(),
            settings: settings.collect(),
        };
        let id = InstanceId::from("files-eu");
        Place::read(Given::new(&id, &instance), provider).map_err(|error| error.to_string())
    }

    #[test]
    fn a_place_is_named_by_its_settings() {
        let place = read(Provider::S3, &[("bucket", "orders-eu"), ("aws_region", "cn-north-1")]);
        let place = place.unwrap();
        assert_eq!(place.url(), "https://s3.cn-north-1.amazonaws.com.cn/orders-eu");
        assert_eq!(place.arn(), "arn:aws-cn:s3:::orders-eu");
        assert!(!place.is_plain());
        let plain = [("bucket", "orders-eu"), ("endpoint_url", "http://127.0.0.1:5000/")];
        let place = read(Provider::S3, &plain).unwrap();
        assert_eq!((place.url().as_str(), place.is_plain()), (PLAIN, true));
    }

    const PLAIN: &str = "http://127.0.0.1:5000/orders-eu";

    #[test]
    fn a_wrong_setting_is_named_and_no_secret_shown() {
        for (provider, settings, named) in [
            (Provider::S3, &[][..], "bucket is missing"),
            (Provider::S3, &[("bucket", "Orders")][..], "bucket is \"Orders\""),
            (Provider::S3, &[("bucket", "b-eu"), ("credentials_file", "aws")], "absolute path"),
            (
                Provider::S3,
                &[("bucket", "b-eu"), ("endpoint_url", "http://u:hunter2@h")],
                "without",
            ),
            (Provider::Azure, &[("account", "orderseu")][..], "container is missing"),
            (
                Provider::Azure,
                &[("account", "acc"), ("container", "c-1"), ("client_secret_file", "/s")],
                "tenant_id is missing",
            ),
            (
                Provider::Azure,
                &[
                    ("account", "acc"),
                    ("container", "c-1"),
                    ("client_secret_file", "/s"),
                    ("access_key_file", "/k"),
                ],
                "give one of",
            ),
        ] {
            let said = read(provider, settings).unwrap_err();
            assert!(said.contains(named) && !said.contains("hunter2"), "{said}");
        }
    }
}
