//! [`ClientSettings`]: makes the clients of stores.

use std::str::FromStr;
use std::sync::Arc;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::memory::InMemory;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, ObjectStoreScheme, RetryConfig};

use crate::address::{Refusal, WebAddress};
use crate::connector::{Connector, is_true};
use crate::exact::ExactKeys;
use crate::servers::ServerOptions;
use crate::settings::{SettingError, check_setting};

/// How clients are set up.
pub(crate) struct ClientSettings {
    /// Keys of object_store in lower case, and their values, some of which are secrets. They are
    /// checked when a client uses them.
    pub(crate) values: Vec<(String, String)>,
    pub(crate) servers: ServerOptions,
}

impl ClientSettings {
    pub(crate) fn connector(&self) -> Connector {
        let first_metadata = self
            .values
            .iter()
            .any(|(key, value)| key.ends_with("imdsv1_fallback") && is_true(value));
        Connector { unsized_bytes_max: self.servers.unsized_bytes_max, first_metadata }
    }

    /// A URL with http asks for it; the other stores need AWS_ALLOW_HTTP and its like. With https,
    /// what isn't allowed is a redirect to http.
    pub(crate) fn web_client_options(
        &self,
        address: &WebAddress,
    ) -> Result<ClientOptions, SettingError> {
        let http = address.origin.starts_with("http://") || self.servers.insecure_redirects;
        let settings = self.known(|_| true)?;
        let options = settings
            .into_iter()
            .fold(client_options(), |options, (key, value)| options.with_config(key, value));
        Ok(options.with_allow_http(http))
    }

    /// The settings whose keys a client knows and that `is_used`, checked.
    fn known<K: FromStr>(
        &self,
        is_used: impl Fn(&str) -> bool,
    ) -> Result<Vec<(K, &str)>, SettingError> {
        let mut known = Vec::new();
        for (name, value) in &self.values {
            if let Ok(key) = name.parse()
                && is_used(name)
            {
                check_setting(name, value)?;
                known.push((key, &**value));
            }
        }
        Ok(known)
    }

    /// Makes the client of a store with keys. With `exact`, its paths are spelled keys.
    pub(crate) fn connect(
        &self,
        scheme: &ObjectStoreScheme,
        store: &str,
        exact: bool,
    ) -> Result<Arc<dyn ObjectStore>, Refusal> {
        // The builders look at the bucket only.
        let url = format!("{store}x");
        /// The settings that this store knows.
        macro_rules! set_up {
            ($builder:expr, $connector:expr) => {{
                let builder = $builder.with_url(&url).with_client_options(client_options());
                let settings = self.known(|key| self.is_used(scheme, key))?;
                let builder = settings
                    .into_iter()
                    .fold(builder, |builder, (key, value)| builder.with_config(key, value));
                builder.with_retry(no_retries()).with_http_connector($connector).build()?
            }};
        }
        Ok(match scheme {
            ObjectStoreScheme::Memory if !exact => Arc::new(InMemory::new()),
            ObjectStoreScheme::AmazonS3 => {
                let plain = set_up!(AmazonS3Builder::new(), self.connector());
                if !exact {
                    return Ok(Arc::new(plain));
                }
                let credentials = Arc::clone(plain.credentials());
                let connector = ExactKeys::new(self.connector(), Some(Arc::clone(&credentials)));
                let builder = AmazonS3Builder::new().with_credentials(credentials);
                Arc::new(set_up!(builder, connector))
            }
            ObjectStoreScheme::GoogleCloudStorage => {
                let plain = set_up!(GoogleCloudStorageBuilder::new(), self.connector());
                if !exact {
                    return Ok(Arc::new(plain));
                }
                let credentials = Arc::clone(plain.credentials());
                let builder = GoogleCloudStorageBuilder::new().with_credentials(credentials);
                Arc::new(set_up!(builder, ExactKeys::new(self.connector(), None)))
            }
            ObjectStoreScheme::MicrosoftAzure if !exact => {
                Arc::new(set_up!(MicrosoftAzureBuilder::new(), self.connector()))
            }
            ObjectStoreScheme::MicrosoftAzure => {
                return Err("its key has empty parts or control characters, which can't be signed for Azure here; give its https:// URL with a SAS token".into());
            }
            _ => {
                return Err(
                    "no object here has such a key, with empty parts or control characters".into(),
                );
            }
        })
    }

    /// Whether a setting counts. An S3 endpoint with https stays with https: a redirect could
    /// otherwise take the encryption away.
    fn is_used(&self, scheme: &ObjectStoreScheme, key: &str) -> bool {
        if *scheme != ObjectStoreScheme::AmazonS3 || !key.ends_with("allow_http") {
            return true;
        }
        let is_http = |(key, value): &(String, String)| {
            let is_s3s =
                key.contains("endpoint") && !key.contains("metadata") && !key.contains("sts");
            is_s3s && value.to_ascii_lowercase().starts_with("http://")
        };
        self.servers.insecure_redirects || self.values.iter().any(is_http)
    }
}

/// The engine does the retries, and counts them.
pub(crate) fn no_retries() -> RetryConfig {
    RetryConfig { max_retries: 0, backoff: BackoffConfig::default(), ..RetryConfig::default() }
}

/// The engine has a time limit per request; a client's own limit would end long bodies.
fn client_options() -> ClientOptions {
    ClientOptions::new().with_timeout_disabled()
}
