//! Whether two answers are about the same object: by version, ETag, size and time.
//!
//! Later requests ask for the first answer's ETag, and every answer is compared as well, because
//! some servers ignore `If-Match`. The version is named only where there is no usable ETag: naming
//! a version requires a permission of its own, which a reader may lack.

use object_store::{Error, GetOptions, ObjectMeta};

use crate::error::Cause;

/// Asks for the object of the first answer and no other.
pub(crate) fn pin(options: &mut GetOptions, first: &ObjectMeta) {
    options.if_match = strong(first).cloned();
    options.version = first.version.clone().filter(|_| options.if_match.is_none());
}

/// The ETag, if it is strong: by the rules of If-Match a weak one never matches.
fn strong(meta: &ObjectMeta) -> Option<&String> {
    meta.e_tag.as_ref().filter(|e_tag| !e_tag.starts_with("W/"))
}

/// Why a request that was pinned to the first answer was refused.
pub(crate) fn refused(error: Error, first: Option<&ObjectMeta>) -> Cause {
    let Some(first) = first else { return Cause::from(error) };
    let changed = |field, before: &str, now: &str| Cause::Changed {
        field,
        before: before.to_owned(),
        now: now.to_owned(),
    };
    if let Error::Precondition { .. } = error {
        return changed("ETag", shown(&first.e_tag), "another");
    }
    match Cause::from(error) {
        // The object was there: now it is deleted, or its version is overwritten in a store that
        // keeps none.
        Cause::NotFound(_) => changed("object", "there", "gone"),
        // The range is within the size of the first answer.
        Cause::Status { status: 416 } => changed("size", &first.size.to_string(), "less"),
        cause => cause,
    }
}

/// Whether anything distinguishes this object from a later version.
pub(crate) fn is_named(meta: &ObjectMeta) -> bool {
    // object_store uses the beginning of time if a server sends no time.
    meta.e_tag.is_some() || meta.version.is_some() || meta.last_modified.timestamp() != 0
}

/// An error if a later answer is about another object than the first.
pub(crate) fn check(first: &ObjectMeta, now: &ObjectMeta) -> Result<(), Cause> {
    let changed = |field, before: String, now: String| Err(Cause::Changed { field, before, now });
    if first.size != now.size {
        return changed("size", first.size.to_string(), now.size.to_string());
    }
    // If only one answer has an ETag, nothing says that they are the same object.
    if first.e_tag != now.e_tag {
        return changed("ETag", shown(&first.e_tag).to_owned(), shown(&now.e_tag).to_owned());
    }
    if let (Some(first), Some(now)) = (&first.version, &now.version)
        && first != now
    {
        return changed("version", first.clone(), now.clone());
    }
    if strong(first).is_none() && first.last_modified != now.last_modified {
        return changed(
            "Last-Modified",
            first.last_modified.to_string(),
            now.last_modified.to_string(),
        );
    }
    Ok(())
}

fn shown(e_tag: &Option<String>) -> &str {
    e_tag.as_deref().unwrap_or("none")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::StoreAnswer;
    use object_store::client::{HttpError, HttpErrorKind};
    use object_store::path::Path;
    use std::time::{Duration, SystemTime};

    fn meta(size: u64, e_tag: Option<&str>, second: u64) -> ObjectMeta {
        let last_modified = (SystemTime::UNIX_EPOCH + Duration::from_secs(second)).into();
        ObjectMeta {
            location: Path::from("key"),
            last_modified,
            size,
            e_tag: e_tag.map(str::to_owned),
            version: None,
        }
    }

    fn field(first: &ObjectMeta, now: &ObjectMeta) -> Option<&'static str> {
        check(first, now).err().map(|cause| match cause {
            Cause::Changed { field, .. } => field,
            cause => panic!("{cause}"),
        })
    }

    #[test]
    fn the_property_that_differs_is_named() {
        let first = meta(9, Some("\"a\""), 7);
        assert_eq!(
            field(&first, &meta(9, Some("\"a\""), 8)),
            None,
            "the same ETag is the same object"
        );
        assert_eq!(field(&first, &meta(8, Some("\"a\""), 7)), Some("size"));
        assert_eq!(field(&first, &meta(9, Some("\"b\""), 7)), Some("ETag"));
        assert_eq!(field(&first, &meta(9, None, 7)), Some("ETag"));
        assert_eq!(field(&meta(9, None, 7), &first), Some("ETag"));
        assert_eq!(field(&meta(9, None, 7), &meta(9, None, 7)), None);
        assert_eq!(field(&meta(9, None, 7), &meta(9, None, 8)), Some("Last-Modified"));
        let weak = |second| meta(9, Some("W/\"a\""), second);
        assert_eq!(
            (field(&weak(7), &weak(7)), field(&weak(7), &weak(8))),
            (None, Some("Last-Modified"))
        );
        let version =
            |version: &str| ObjectMeta { version: Some(version.to_owned()), ..meta(9, None, 0) };
        assert_eq!(field(&version("1"), &version("1")), None);
        assert_eq!(field(&version("1"), &version("2")), Some("version"));
    }

    #[test]
    fn an_object_without_any_name_is_known_as_such() {
        assert!(!is_named(&meta(9, None, 0)));
        assert!(is_named(&meta(9, None, 1)) && is_named(&meta(9, Some("\"a\""), 0)));
    }

    #[test]
    fn a_weak_etag_is_compared_but_never_sent() {
        let sent = |e_tag| {
            let mut options = GetOptions::default();
            pin(&mut options, &meta(9, Some(e_tag), 7));
            options.if_match
        };
        assert_eq!(sent("\"a\"").as_deref(), Some("\"a\""));
        assert_eq!(sent("W/\"a\""), None);
    }

    #[test]
    fn a_version_is_named_where_no_etag_can_be() {
        let sent = |e_tag: Option<&str>| {
            let mut options = GetOptions::default();
            pin(&mut options, &ObjectMeta { version: Some("3".to_owned()), ..meta(9, e_tag, 7) });
            (options.if_match.is_some(), options.version.is_some())
        };
        assert_eq!(
            [Some("\"a\""), Some("W/\"a\""), None].map(sent),
            [(true, false), (false, true), (false, true)]
        );
    }

    #[test]
    fn a_refused_pin_is_a_change() {
        let refused = |first| {
            let error = Error::Precondition { path: "key".to_owned(), source: "412".into() };
            super::refused(error, first)
        };
        let first = meta(9, Some("\"a\""), 7);
        assert!(
            matches!(refused(Some(&first)), Cause::Changed { field: "ETag", before, .. } if before == "\"a\"")
        );
        assert!(matches!(refused(None), Cause::Store(_)));
    }

    #[test]
    fn an_object_that_is_gone_after_its_first_answer_has_changed() {
        let gone = |first| {
            super::refused(Error::NotFound { path: "key".to_owned(), source: "404".into() }, first)
        };
        let first = meta(9, None, 7);
        assert!(matches!(gone(Some(&first)), Cause::Changed { field: "object", .. }));
        assert!(matches!(gone(None), Cause::NotFound(_)));
        let behind_the_end = |first| {
            let answer = StoreAnswer::Status { status: 416, retry_after: None };
            let source = Box::new(HttpError::new(HttpErrorKind::Unknown, answer));
            super::refused(Error::Generic { store: "test", source }, first)
        };
        assert!(
            matches!(behind_the_end(Some(&first)), Cause::Changed { field: "size", before, .. } if before == "9")
        );
        assert!(matches!(behind_the_end(None), Cause::Status { status: 416 }));
    }
}
