//! Which requests ask the machine for credentials, and what a user without any should set.
//!
//! object_store asks a service of the machine when no credentials are set. Outside of the cloud
//! nothing answers, and the system waits minutes for it.

use std::time::Duration;

use object_store::client::HttpRequest;

/// How long the machine's own service may take. It is one hop away.
pub(crate) const LONGEST: Duration = Duration::from_secs(2);

const AWS: &str = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (profiles in ~/.aws aren't read: `aws configure export-credentials --format env` prints them), or AWS_SKIP_SIGNATURE=true for a public bucket";
const GOOGLE: &str = "GOOGLE_SERVICE_ACCOUNT to the path of a service account's key, or GOOGLE_SKIP_SIGNATURE=true for a public bucket";
const AZURE: &str = "AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN or AZURE_CLIENT_ID and its like, or AZURE_SKIP_SIGNATURE=true for a public container";

/// Paths of the services, and what to set instead.
const PATHS: &[(&str, &str)] = &[
    ("/latest/api/token", AWS),
    ("/latest/meta-data/iam/", AWS),
    ("/computeMetadata/v1/", GOOGLE),
    ("/metadata/identity/", AZURE),
];

/// What to set, if the request asks the machine for credentials.
pub(crate) fn credentials_of(request: &HttpRequest) -> Option<&'static str> {
    let uri = request.uri();
    let path = uri.path();
    // Objects may have such names too, and are asked for by range or with `Accept-Encoding`.
    let is_service = request.headers().keys().any(|name| {
        name.as_str().starts_with("x-aws-ec2-metadata-token")
            || name == "metadata-flavor"
            || name == "metadata"
    }) || uri.host().is_some_and(|host| {
        host.starts_with("169.254.") || host == "metadata" || host == "metadata.google.internal"
    });
    let set = PATHS.iter().find(|(start, _)| path.starts_with(start)).map(|(_, set)| *set);
    set.or(uri.host().filter(|host| *host == "169.254.170.2").map(|_| AWS)).filter(|_| is_service)
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::client::HttpRequestBody;

    fn asks(url: &str, header: Option<&'static str>) -> Option<&'static str> {
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.uri_mut() = url.parse().unwrap();
        if let Some(header) = header {
            request.headers_mut().insert(header, "true".parse().unwrap());
        }
        credentials_of(&request)
    }

    #[test]
    fn machines_services_are_told_from_objects() {
        let token = Some("x-aws-ec2-metadata-token-ttl-seconds");
        assert_eq!(asks("http://169.254.169.254/latest/api/token", token), Some(AWS));
        assert_eq!(asks("http://127.0.0.1:1/latest/api/token", token), Some(AWS));
        assert_eq!(asks("http://169.254.170.2/v2/credentials/x", None), Some(AWS));
        let google = "http://metadata.google.internal/computeMetadata/v1/instance/x";
        assert_eq!(asks(google, Some("metadata-flavor")), Some(GOOGLE));
        let azure = "http://169.254.169.254/metadata/identity/oauth2/token?a=b";
        assert_eq!(asks(azure, Some("metadata")), Some(AZURE));
        assert_eq!(asks("http://host/latest/api/token", None), None);
        assert_eq!(asks("http://host/bucket/key", None), None);
    }
}
