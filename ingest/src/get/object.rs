//! The objects of a run: the location of each, and the name of its file.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::path::Path;
use slipring_objects::Stores;

use super::GetError;

/// One object, and the client of its store.
#[derive(Clone)]
pub(super) struct Object {
    pub(super) url: String,
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) path: Path,
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl Object {
    /// The objects of these URLs. Connects to nothing.
    pub(super) fn open(urls: &[String]) -> Result<Vec<Object>, GetError> {
        let stores = Stores::from_env();
        let open = |url: &String| {
            let (store, path) = stores.open(url)?;
            Ok(Object { url: url.clone(), store, path })
        };
        urls.iter().map(open).collect()
    }

    /// The last part of its key.
    pub(super) fn name(&self) -> &str {
        self.path.filename().unwrap_or_default()
    }
}

/// Refuses names that are invalid for a file, and names that two objects share.
pub(super) fn check_names(objects: &[Object]) -> Result<(), GetError> {
    let mut seen: HashMap<&str, &Object> = HashMap::with_capacity(objects.len());
    for object in objects {
        // The key no longer shows that the URL named a folder, by a slash at its end or by dots.
        let said = object.url.rsplit('/').next().unwrap_or_default();
        for name in [said, object.name()] {
            if ["", ".", ".."].contains(&name) {
                return Err(GetError::Name { url: object.url.clone(), name: name.to_owned() });
            }
        }
        let name = object.name();
        if let Some(first) = seen.insert(name, object) {
            let (first, second) = (first.url.clone(), object.url.clone());
            return Err(GetError::SameName { first, second, name: name.to_owned() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(urls: &[&str]) -> Result<(), String> {
        let urls: Vec<String> = urls.iter().map(|url| (*url).to_owned()).collect();
        Object::open(&urls)
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
                "http://host/x.npy%3Fa"
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
    fn what_names_no_file_is_refused() {
        for url in ["memory:///dir/", "memory:///dir/file/.."] {
            let error = check(&[url]).unwrap_err();
            assert!(error.contains(url) && error.contains("no name for a file"), "{error}");
        }
    }
}
