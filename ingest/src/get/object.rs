//! The objects of a run, and their names.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::path::Path as ObjectPath;
use slipring_objects::{Stores, redact};

use super::error::GetRunError;

/// One object, and the client of its store.
#[derive(Clone)]
pub(super) struct GetObject {
    /// For people and programs, without secrets.
    pub(super) url: String,
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) path: ObjectPath,
}

impl fmt::Debug for GetObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl GetObject {
    /// The objects that these URLs name. Connects to nothing.
    pub(super) fn open(stores: &Stores, urls: &[String]) -> Result<Vec<GetObject>, GetRunError> {
        let open = |url: &String| {
            let (store, path) = stores.open(url)?;
            Ok(GetObject { url: redact(url), store, path })
        };
        urls.iter().map(open).collect()
    }

    /// The last part of the object's key.
    pub(super) fn name(&self) -> &str {
        self.path.filename().unwrap_or_default()
    }
}

/// Refuses names that a file can't have, and names that two objects share.
pub(super) fn check_names(objects: &[GetObject]) -> Result<(), GetRunError> {
    let mut seen: HashMap<&str, &GetObject> = HashMap::with_capacity(objects.len());
    for object in objects {
        // The URL may name a folder, by a slash at its end or by dots, which the key no longer
        // shows.
        let last_part = last_part(&object.url);
        for name in [last_part, object.name()] {
            if ["", ".", ".."].contains(&name) {
                return Err(GetRunError::Name { url: object.url.clone(), name: name.to_owned() });
            }
        }
        let name = object.name();
        if let Some(first) = seen.insert(name, object) {
            let (first, second) = (first.url.clone(), object.url.clone());
            return Err(GetRunError::SameName { first, second, name: name.to_owned() });
        }
    }
    Ok(())
}

/// The last part of a URL's path, or of the path of a file.
fn last_part(url: &str) -> &str {
    let path = match url.get(..4) {
        Some(web) if web.eq_ignore_ascii_case("http") => url.split('?').next().unwrap_or_default(),
        _ => url,
    };
    path.rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(urls: &[&str]) -> Result<(), String> {
        let urls: Vec<String> = urls.iter().map(|url| (*url).to_owned()).collect();
        GetObject::open(&Stores::default(), &urls)
            .and_then(|objects| check_names(&objects))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn names_are_the_last_parts_of_keys() {
        assert_eq!(
            check(&[
                "memory:///a/one",
                "memory:///b/two",
                "/tmp/a file",
                "/tmp/?",
                "http://host/x.npy%3Fa",
                "http://host/a/y.npy?part=1/2",
                "http://host/a%2Fz"
            ]),
            Ok(())
        );
        for urls in [
            &["memory:///a/name", "memory:///b/name"][..],
            &["memory:///name", "/tmp/name"],
            &["memory:///a%20b", "/tmp/a b"],
        ] {
            let error = check(urls).unwrap_err();
            assert!(
                urls.iter().all(|url| error.contains(url)) && error.contains("two folders"),
                "{error}"
            );
        }
    }

    #[test]
    fn urls_of_folders_are_refused() {
        for url in ["http://host/dir/", "http://host/dir/?a=b", "HTTP://host/?a"] {
            let error = check(&[url]).unwrap_err();
            assert!(
                error.contains(url) && error.contains("can't be the name of a file"),
                "{error}"
            );
        }
        for url in ["memory:///dir/", "memory:///dir/file/..", "/tmp/", "/tmp/.."] {
            let error = check(&[url]).unwrap_err();
            assert!(
                error.starts_with(&format!("{url}: it")) || error.contains("no object"),
                "{error}"
            );
        }
    }

    #[test]
    fn no_secret_is_in_the_name_of_an_object() {
        let url = "http://me:hidden@host/a?sig=hidden&part=1".to_owned();
        let objects = GetObject::open(&Stores::default(), &[url]).unwrap();
        assert_eq!(objects[0].url, "http://***@host/a?sig=***&part=1");
        assert_eq!(objects[0].name(), "a");
    }
}
