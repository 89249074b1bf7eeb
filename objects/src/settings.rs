//! Settings of stores, such as the environment's, and what is wrong with a value.
//!
//! A malformed value would come to light late and badly: crate object_store puts it into a request,
//! and panics if no request can have it. So every value that a store uses is checked when its
//! client is made. Errors name the setting and never its value, which may be a secret.

use std::fmt;

use object_store::client::{HttpRequest, HttpRequestBody};
use url::Url;

/// A setting whose value can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingError {
    /// The setting's name, in capitals as in the environment.
    pub setting: String,
    /// What is wrong, and the fix.
    problem: String,
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.setting, self.problem)
    }
}

impl std::error::Error for SettingError {}

/// What a value has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SettingKind {
    /// A path, or a text with lines.
    Any,
    /// A secret that is computed with, or encoded before it is sent.
    OneLine,
    /// Sent in a header.
    Header,
    /// Part of a host's name.
    HostPart,
    /// A URL that is asked for as it is.
    WholeUrl,
    /// The URL of a server, behind which a path is put.
    ServerUrl,
    /// The path of a URL.
    UrlPath,
    Flag,
}

/// The kinds of settings, by their names without the store's prefix. Others are sent in headers, or
/// are numbers and words that object_store reads.
const KINDS: &[(SettingKind, &[&str])] = &[
    (
        SettingKind::Any,
        &[
            "service_account",
            "service_account_path",
            "service_account_key",
            "application_credentials",
            "web_identity_token_file",
            "container_authorization_token_file",
            "federated_token_file",
            "proxy_ca_certificate",
        ],
    ),
    (SettingKind::OneLine, &["secret_access_key", "client_secret", "sas_key", "sas_token"]),
    (
        SettingKind::HostPart,
        &["region", "default_region", "account_name", "tenant_id", "authority_id"],
    ),
    (
        SettingKind::ServerUrl,
        &[
            "endpoint",
            "endpoint_url",
            "endpoint_url_s3",
            "endpoint_url_sts",
            "metadata_endpoint",
            "base_url",
            "authority_host",
        ],
    ),
    (
        SettingKind::WholeUrl,
        &[
            "container_credentials_full_uri",
            "identity_endpoint",
            "msi_endpoint",
            "fabric_token_service_url",
        ],
    ),
    (SettingKind::UrlPath, &["container_credentials_relative_uri"]),
    (
        SettingKind::Flag,
        &[
            "allow_http",
            "allow_invalid_certificates",
            "skip_signature",
            "virtual_hosted_style_request",
            "s3_express",
            "imdsv1_fallback",
            "unsigned_payload",
            "request_payer",
            "use_emulator",
            "use_fabric_endpoint",
            "use_azure_cli",
        ],
    ),
];

/// What a Boolean setting may be, in lower case.
const FLAGS: &[&str] = &["1", "true", "on", "yes", "y", "0", "false", "off", "no", "n"];

/// The setting as the stores get it: its name in lower case, and its value without the white space
/// around it, such as the line break at the end of a file with a secret. None if nothing is left.
pub(crate) fn normalized(key: &str, value: &str) -> Option<(String, String)> {
    let value = value.trim();
    (!value.is_empty()).then(|| (key.to_ascii_lowercase(), value.to_owned()))
}

/// Refuses a value that no client can use.
pub(crate) fn check_setting(key: &str, value: &str) -> Result<(), SettingError> {
    let problem = problem(kind_of(key), value);
    let error = |problem| SettingError { setting: key.to_ascii_uppercase(), problem };
    problem.map_or(Ok(()), |problem| Err(error(problem)))
}

fn kind_of(key: &str) -> SettingKind {
    let prefixes = ["aws_", "azure_storage_", "azure_", "google_"];
    let name = prefixes.iter().find_map(|prefix| key.strip_prefix(prefix)).unwrap_or(key);
    let known = KINDS.iter().find(|(_, names)| names.contains(&name));
    known.map_or(SettingKind::Header, |(kind, _)| *kind)
}

fn problem(kind: SettingKind, value: &str) -> Option<String> {
    let at = |is_odd: fn(char) -> bool| value.char_indices().find(|&(_, c)| is_odd(c));
    // Where the environment has bytes that aren't UTF-8.
    if value.contains('\u{fffd}') {
        return Some("isn't UTF-8; set it again".to_owned());
    }
    let odd = match kind {
        SettingKind::Any => at(|c| c == '\0'),
        SettingKind::OneLine => at(char::is_control),
        SettingKind::Header => at(|c| !(c == ' ' || c.is_ascii_graphic())),
        SettingKind::HostPart => at(|c| !(c.is_ascii_alphanumeric() || "-._".contains(c))),
        SettingKind::WholeUrl | SettingKind::ServerUrl | SettingKind::UrlPath => {
            at(|c| !c.is_ascii_graphic())
        }
        SettingKind::Flag => None,
    };
    if let Some((byte, odd)) = odd {
        return Some(format!("has the character {odd:?} at byte {byte}; set it without that"));
    }
    match kind {
        SettingKind::WholeUrl => url_problem(value),
        SettingKind::ServerUrl => url_problem(value).or_else(|| {
            let mark = value.find(['?', '#']).map(|at| &value[at..=at])?;
            Some(format!("has a {mark}, and keys are put behind it; set it without that"))
        }),
        SettingKind::UrlPath if !value.starts_with('/') => {
            Some("is no path; begin it with /".to_owned())
        }
        SettingKind::UrlPath => url_problem(&format!("http://host{value}")),
        SettingKind::Flag if !FLAGS.contains(&&*value.to_ascii_lowercase()) => {
            Some("is neither true nor false; set one of them".to_owned())
        }
        _ => None,
    }
}

/// Why a request can't have this URL.
fn url_problem(value: &str) -> Option<String> {
    let lower = value.to_ascii_lowercase();
    if !["http://", "https://"].iter().any(|scheme| lower.starts_with(scheme)) {
        return Some("has no scheme; begin it with http:// or https://".to_owned());
    }
    let refused =
        |error: &dyn fmt::Display| Some(format!("is no URL ({error}); write http://host:port"));
    if let Err(error) = Url::parse(value) {
        return refused(&error);
    }
    // The parser of requests refuses what the other one mends.
    let mut request = HttpRequest::new(HttpRequestBody::empty());
    match value.parse() {
        Ok(uri) => *request.uri_mut() = uri,
        Err(error) => return refused(&error),
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(key: &str, value: &str, part: &str) {
        let error = check_setting(key, value).unwrap_err().to_string();
        let name = key.to_ascii_uppercase();
        assert!(error.starts_with(&name) && error.contains(part), "{error}");
        assert!(!error.contains("hidden"), "{error}");
    }

    #[test]
    fn every_setting_is_what_a_request_can_have() {
        for (key, value) in [
            ("aws_access_key_id", "AKIA/+=0"),
            ("aws_secret_access_key", "pässword / + ="),
            ("aws_region", "eu-central-1"),
            ("aws_endpoint", "http://127.0.0.1:9000"),
            ("aws_endpoint_url_s3", "HTTPS://[::1]:9/prefix/"),
            ("aws_container_credentials_relative_uri", "/v2/credentials/x?id=1"),
            ("aws_allow_http", "True"),
            ("google_service_account_key", "{\n\"private_key\": \"-----BEGIN\\n\"\n}"),
            ("azure_storage_account_name", "devstoreaccount1"),
            ("azure_storage_sas_token", "?sv=1&sig=a%2Fb"),
            ("azure_authority_host", "https://login.microsoftonline.com/"),
        ] {
            assert_eq!(check_setting(key, value), Ok(()), "{key}");
        }
    }

    #[test]
    fn an_error_names_the_setting_and_never_its_value() {
        for key in ["aws_access_key_id", "aws_session_token", "google_bearer_token"] {
            refused(key, "hidden\nhidden", "the character '\\n' at byte 6");
            refused(key, "hiddené", "the character 'é' at byte 6");
        }
        for key in ["aws_secret_access_key", "azure_storage_sas_token", "azure_client_secret"] {
            refused(key, "hidden\u{0}", "'\\0'");
        }
        for key in ["aws_region", "azure_storage_account_name", "azure_tenant_id"] {
            refused(key, "hidden/x", "'/'");
            refused(key, "a b", "' '");
        }
        for key in ["aws_endpoint", "google_base_url", "azure_storage_endpoint", "base_url"] {
            for (value, part) in [
                ("127.0.0.1:9000", "has no scheme; begin it with http://"),
                ("localhost", "has no scheme"),
                ("ftp://hidden", "has no scheme"),
                ("not a url hidden", "' '"),
                ("http://", "is no URL"),
                ("http://me:hidden/x@h", "is no URL (invalid port number)"),
                ("http://h:99999", "is no URL"),
                ("http://h\\x", "is no URL"),
                ("http://h/a?token=hidden", "has a ?"),
                ("http://h/a#hidden", "has a #"),
            ] {
                refused(key, value, part);
            }
        }
        refused("aws_container_credentials_relative_uri", "v2", "begin it with /");
        refused("aws_skip_signature", "hidden", "neither true nor false");
        refused("google_service_account", "/tmp/\u{fffd}", "isn't UTF-8");
    }

    #[test]
    fn white_space_around_a_value_is_not_part_of_it() {
        let pair = |value: &str| Some(("aws_region".to_owned(), value.to_owned()));
        assert_eq!(normalized("AWS_REGION", "eu-1\r\n"), pair("eu-1"));
        assert_eq!(normalized("aws_region", " a b\t"), pair("a b"));
        for empty in ["", "\n", " \t"] {
            assert_eq!(normalized("AWS_REGION", empty), None);
        }
    }
}
