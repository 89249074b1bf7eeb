//! Requests for names that crate object_store can't express.
//!
//! Its paths have no empty parts and no control characters, and its web client encodes an address
//! again. Here the request's address is replaced before it is sent: by the address that a URL had
//! as it was written ([`ExactUrl`]), or by the key that a path spells ([`ExactKeys`]).

use std::fmt;

use async_trait::async_trait;
use object_store::aws::{AwsAuthorizer, AwsCredentialProvider};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use object_store::{ClientOptions, HeaderValue};

use crate::address::{WebAddress, sent_path};
use crate::connector::Connector;

/// Sends every request to one address, through a client that others share.
#[derive(Clone)]
pub(crate) struct ExactUrl {
    client: HttpClient,
    url: String,
    authorization: Option<HeaderValue>,
}

impl ExactUrl {
    pub(crate) fn new(client: HttpClient, address: &WebAddress) -> Self {
        let url = format!("{}{}", address.origin.trim_end_matches('/'), address.target);
        Self { client, url, authorization: address.authorization.clone() }
    }
}

impl fmt::Debug for ExactUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address may have a signature.
        f.debug_struct("ExactUrl").finish_non_exhaustive()
    }
}

impl HttpConnector for ExactUrl {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for ExactUrl {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        *request.uri_mut() = self.url.parse().map_err(unsendable)?;
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert("authorization", authorization.clone());
        }
        // The stored bytes, and not what a server makes of them for this answer.
        request.headers_mut().insert("accept-encoding", HeaderValue::from_static("identity"));
        self.client.execute(request).await
    }
}

/// Makes clients that send the keys that [`spelled`](crate::address::spelled) paths stand for, and
/// sign them again if they were signed for S3.
#[derive(Debug)]
pub(crate) struct ExactKeys {
    inner: Connector,
    credentials: Option<AwsCredentialProvider>,
}

impl ExactKeys {
    /// The credentials are those of the store's own client, if it signs.
    pub(crate) fn new(inner: Connector, credentials: Option<AwsCredentialProvider>) -> Self {
        Self { inner, credentials }
    }
}

impl HttpConnector for ExactKeys {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let (client, credentials) = (self.inner.connect(options)?, self.credentials.clone());
        Ok(HttpClient::new(ExactKeyClient { client, credentials }))
    }
}

#[derive(Debug)]
struct ExactKeyClient {
    client: HttpClient,
    credentials: Option<AwsCredentialProvider>,
}

#[async_trait]
impl HttpService for ExactKeyClient {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let uri = request.uri();
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return self.client.execute(request).await;
        };
        let Some(path) = sent_path(uri.path()) else { return self.client.execute(request).await };
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let exact = format!("{scheme}://{authority}{path}{query}");
        *request.uri_mut() = exact.parse().map_err(unsendable)?;
        self.sign_again(&mut request).await?;
        self.client.execute(request).await
    }
}

impl ExactKeyClient {
    /// The signature covers the address.
    async fn sign_again(&self, request: &mut HttpRequest) -> Result<(), HttpError> {
        let signed = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        let Some((_, scope)) = signed.and_then(|value| value.split_once("Credential=")) else {
            return Ok(());
        };
        let (Some(region), Some(credentials)) =
            (scope.split('/').nth(2).map(str::to_owned), &self.credentials)
        else {
            return Ok(());
        };
        let credential = credentials.get_credential().await.map_err(unsendable)?;
        AwsAuthorizer::new(&credential, "s3", &region)
            .try_authorize(request, None)
            .map_err(unsendable)
    }
}

fn unsendable(error: impl std::error::Error + Send + Sync + 'static) -> HttpError {
    HttpError::new(HttpErrorKind::Unknown, error)
}
