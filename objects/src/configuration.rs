//! Options as text, feature `serde`: TOML, JSON or any other format with named fields.
//!
//! - A missing field has its default. An unknown or repeated field is refused.
//! - Every error names the field, also where the format doesn't.
//! - Times are numbers of seconds, `0.1` or `30`, in fields that end in `_secs`; to the nanosecond
//!   up to 48 days, where the digits of an `f64` end.
//! - Where none is a choice (`part_bytes`), a format with nulls may write null; TOML omits the
//!   field.
//! - The engine's and the pool's own checks run here too, so what is read is valid.
//!
//! The derived implementations would take as many lines in attributes, and name no field in JSON.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::de::{DeserializeOwned, Error as _, MapAccess, Visitor};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use slipring::class::AtLimit;

use crate::options::{BufferPoolOptions, OptionsError, RangeOptions, StoreOptions};

/// A field's value, and how it is written.
trait Value: Sized {
    /// The written form.
    type Form: Serialize + DeserializeOwned;

    fn to_form(&self) -> Self::Form;

    /// The error says which values are valid.
    fn from_form(form: Self::Form) -> Result<Self, String>;
}

/// A struct whose fields have names in a text.
trait Options: Default {
    const NAMES: &'static [&'static str];

    /// Reads the value of one of the names.
    fn read<'de, M: MapAccess<'de>>(
        &mut self,
        name: &'static str,
        map: &mut M,
    ) -> Result<(), M::Error>;

    fn check(&self) -> Result<(), OptionsError>;
}

/// Values that are written as they are.
macro_rules! plain {
    ($($kind:ty),*) => { $(
        impl Value for $kind {
            type Form = Self;

            fn to_form(&self) -> Self {
                Clone::clone(self)
            }

            fn from_form(form: Self) -> Result<Self, String> {
                Ok(form)
            }
        }
    )* };
}

plain!(bool, u32, u64, usize, Option<u64>, Option<usize>, RangeOptions, Option<BufferPoolOptions>);

impl Value for Duration {
    type Form = f64;

    fn to_form(&self) -> f64 {
        self.as_secs_f64()
    }

    fn from_form(form: f64) -> Result<Self, String> {
        Self::try_from_secs_f64(form)
            .map_err(|_| format!("{form} is no time: give seconds, 0 to a year"))
    }
}

impl Value for Option<Duration> {
    type Form = Option<f64>;

    fn to_form(&self) -> Option<f64> {
        self.as_ref().map(Value::to_form)
    }

    fn from_form(form: Option<f64>) -> Result<Self, String> {
        form.map(Duration::from_form).transpose()
    }
}

const AT_LIMIT: [(AtLimit, &str); 3] =
    [(AtLimit::Wait, "wait"), (AtLimit::Refuse, "refuse"), (AtLimit::Fresh, "fresh")];

impl Value for AtLimit {
    type Form = String;

    fn to_form(&self) -> String {
        AT_LIMIT
            .iter()
            .find(|(value, _)| value == self)
            .map_or_else(String::new, |(_, word)| (*word).to_owned())
    }

    fn from_form(form: String) -> Result<Self, String> {
        let found = AT_LIMIT.into_iter().find(|(_, word)| *word == form);
        found
            .map(|(value, _)| value)
            .ok_or_else(|| format!("`{form}` is none: give wait, refuse or fresh"))
    }
}

/// The names of a struct's fields in a text, in the order in which they are written.
macro_rules! named {
    ($options:ident checked by $check:expr, { $($name:literal is $field:ident),* $(,)? }) => {
        impl Options for $options {
            const NAMES: &'static [&'static str] = &[$($name),*];

            fn read<'de, M: MapAccess<'de>>(&mut self, name: &'static str, map: &mut M) -> Result<(), M::Error> {
                match name {
                    $($name => self.$field = value(name, map)?,)*
                    _ => return Err(M::Error::unknown_field(name, Self::NAMES)),
                }
                Ok(())
            }

            fn check(&self) -> Result<(), OptionsError> {
                let check: fn(&Self) -> Result<(), OptionsError> = $check;
                // Under the name in the text.
                check(self).map_err(|error| match error.field {
                    $(stringify!($field) => OptionsError { field: $name, ..error },)*
                    _ => error,
                })
            }
        }

        impl Serialize for $options {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut fields = serializer.serialize_struct(stringify!($options), Self::NAMES.len())?;
                $(fields.serialize_field($name, &self.$field.to_form())?;)*
                fields.end()
            }
        }

        impl<'de> Deserialize<'de> for $options {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_struct(stringify!($options), Self::NAMES, Fields(PhantomData))
            }
        }
    };
}

named!(BufferPoolOptions checked by BufferPoolOptions::check, {
    "enabled" is enabled,
    "max_buffers_per_class" is max_buffers_per_class,
    "shrink_after_secs" is shrink_after_secs,
    "at_limit" is at_limit,
});

named!(RangeOptions checked by RangeOptions::check, {
    "enabled" is enabled,
    "part_bytes" is part_bytes,
    "concurrency" is concurrency,
    "threshold_bytes" is threshold_bytes,
    "retries" is retries,
    "retry_budget" is retry_budget,
    "backoff_first_secs" is backoff_first,
    "backoff_max_secs" is backoff_max,
    "retry_after_max_secs" is retry_after_max,
    "request_timeout_secs" is request_timeout,
    "total_timeout_secs" is total_timeout,
});

// Its fields are checked as they are read.
named!(StoreOptions checked by |_| Ok(()), {
    "buffer_pool" is buffer_pool,
    "range" is range,
});

/// Reads the next value; an error names the field.
fn value<'de, M: MapAccess<'de>, T: Value>(name: &str, map: &mut M) -> Result<T, M::Error> {
    let form: T::Form =
        map.next_value().map_err(|error| M::Error::custom(format_args!("`{name}`: {error}")))?;
    T::from_form(form).map_err(|error| M::Error::custom(format_args!("`{name}`: {error}")))
}

/// Reads the fields that a text names over the defaults.
struct Fields<T>(PhantomData<T>);

impl<'de, T: Options> Visitor<'de> for Fields<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "some of the fields {}", T::NAMES.join(", "))
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<T, M::Error> {
        let (mut options, mut seen) = (T::default(), Vec::new());
        while let Some(key) = map.next_key::<String>()? {
            let known = T::NAMES.iter().copied().find(|name| *name == key);
            let name = known.ok_or_else(|| M::Error::unknown_field(&key, T::NAMES))?;
            if seen.contains(&name) {
                return Err(M::Error::duplicate_field(name));
            }
            seen.push(name);
            options.read(name, &mut map)?;
        }
        options.check().map_err(M::Error::custom)?;
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: DeserializeOwned>(text: &str) -> T {
        toml::from_str(text).unwrap_or_else(|error| panic!("{error}"))
    }

    #[track_caller]
    fn refused<T: DeserializeOwned + fmt::Debug>(toml: &str, json: &str, parts: &[&str]) {
        let errors = [
            toml::from_str::<T>(toml).unwrap_err().to_string(),
            serde_json::from_str::<T>(json).unwrap_err().to_string(),
        ];
        for error in errors {
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
    }

    #[test]
    fn the_words_of_the_configuration() {
        let pool: BufferPoolOptions =
            read("enabled = true\nmax_buffers_per_class = 16\nshrink_after_secs = 10\n");
        assert_eq!(pool, BufferPoolOptions::default());
        let pool: BufferPoolOptions = read(
            "enabled = false\nmax_buffers_per_class = 3\nshrink_after_secs = 0\nat_limit = \"wait\"",
        );
        let expected = BufferPoolOptions {
            enabled: false,
            max_buffers_per_class: 3,
            shrink_after_secs: 0,
            at_limit: AtLimit::Wait,
        };
        assert_eq!(pool, expected);
        let store: StoreOptions = read(
            "[buffer_pool]\nmax_buffers_per_class = 4\n[range]\nconcurrency = 8\nbackoff_first_secs = 0.25\nrequest_timeout_secs = 45\ntotal_timeout_secs = 600",
        );
        assert_eq!(
            store.buffer_pool,
            Some(BufferPoolOptions { max_buffers_per_class: 4, ..BufferPoolOptions::default() })
        );
        let range = RangeOptions {
            concurrency: Some(8),
            backoff_first: Duration::from_millis(250),
            request_timeout: Duration::from_secs(45),
            total_timeout: Some(Duration::from_secs(600)),
            ..RangeOptions::default()
        };
        assert_eq!(store.range, range);
    }

    #[test]
    fn what_is_missing_is_the_default() {
        assert_eq!(read::<StoreOptions>(""), StoreOptions::default());
        assert_eq!(read::<BufferPoolOptions>(""), BufferPoolOptions::default());
        assert_eq!(serde_json::from_str::<RangeOptions>("{}").unwrap(), RangeOptions::default());
        let off: StoreOptions = serde_json::from_str("{\"buffer_pool\": null}").unwrap();
        assert_eq!(off.buffer_pool, None);
    }

    #[test]
    fn what_is_written_is_read_again() {
        for at_limit in [AtLimit::Wait, AtLimit::Refuse, AtLimit::Fresh] {
            let buffer_pool = Some(BufferPoolOptions {
                at_limit,
                max_buffers_per_class: 1,
                ..BufferPoolOptions::default()
            });
            let range = RangeOptions {
                enabled: false,
                part_bytes: Some(8 << 20),
                concurrency: Some(3),
                threshold_bytes: Some(1),
                retries: 7,
                retry_budget: 9,
                backoff_first: Duration::from_nanos(100_000_001),
                backoff_max: Duration::from_millis(1500),
                retry_after_max: Duration::ZERO,
                request_timeout: Duration::from_secs(365 * 24 * 3600),
                total_timeout: Some(Duration::from_micros(3)),
            };
            let options = StoreOptions { buffer_pool, range };
            let (toml, json) =
                (toml::to_string(&options).unwrap(), serde_json::to_string(&options).unwrap());
            assert_eq!(read::<StoreOptions>(&toml), options, "{toml}");
            assert_eq!(serde_json::from_str::<StoreOptions>(&json).unwrap(), options, "{json}");
        }
        let none = StoreOptions { buffer_pool: None, range: RangeOptions::default() };
        assert_eq!(
            serde_json::from_str::<StoreOptions>(&serde_json::to_string(&none).unwrap()).unwrap(),
            none
        );
    }

    #[test]
    fn errors_name_the_field() {
        refused::<BufferPoolOptions>(
            "max_buffers = 3",
            "{\"max_buffers\": 3}",
            &["`max_buffers`", "`max_buffers_per_class`"],
        );
        refused::<BufferPoolOptions>("enabled = 1", "{\"enabled\": 1}", &["`enabled`", "boolean"]);
        refused::<BufferPoolOptions>(
            "max_buffers_per_class = -1",
            "{\"max_buffers_per_class\": -1}",
            &["`max_buffers_per_class`", "-1"],
        );
        refused::<BufferPoolOptions>(
            "max_buffers_per_class = 0",
            "{\"max_buffers_per_class\": 0}",
            &["`max_buffers_per_class` is 0: give"],
        );
        refused::<BufferPoolOptions>(
            "shrink_after_secs = \"10s\"",
            "{\"shrink_after_secs\": \"10s\"}",
            &["`shrink_after_secs`", "10s"],
        );
        refused::<BufferPoolOptions>(
            "at_limit = \"block\"",
            "{\"at_limit\": \"block\"}",
            &["`at_limit`: `block` is none", "wait, refuse or fresh"],
        );
        refused::<RangeOptions>(
            "backoff_first_secs = -1",
            "{\"backoff_first_secs\": -1}",
            &["`backoff_first_secs`: -1 is no time"],
        );
        refused::<RangeOptions>(
            "retry_after_max_secs = 31536001",
            "{\"retry_after_max_secs\": 31536001}",
            &["`retry_after_max_secs` is 31536001s: give at most a year"],
        );
        refused::<RangeOptions>(
            "request_timeout_secs = 0",
            "{\"request_timeout_secs\": 0}",
            &["`request_timeout_secs` is 0ns: give more than nothing"],
        );
        refused::<RangeOptions>(
            "concurrency = 5000",
            "{\"concurrency\": 5000}",
            &["`concurrency` is 5000: give 1 to 1024"],
        );
        refused::<StoreOptions>(
            "[range]\nretries = \"x\"",
            "{\"range\": {\"retries\": \"x\"}}",
            &["`range`: `retries`: invalid type"],
        );
        refused::<StoreOptions>("pool = 1", "{\"pool\": 1}", &["`pool`", "`buffer_pool`"]);
        let twice =
            serde_json::from_str::<BufferPoolOptions>("{\"enabled\": true, \"enabled\": true}")
                .unwrap_err();
        assert!(twice.to_string().contains("duplicate field `enabled`"), "{twice}");
        let list = serde_json::from_str::<BufferPoolOptions>("[]").unwrap_err().to_string();
        assert!(list.contains("max_buffers_per_class"), "{list}");
        assert!(
            toml::from_str::<RangeOptions>("backoff_max_secs = nan")
                .unwrap_err()
                .to_string()
                .contains("`backoff_max_secs`: NaN")
        );
    }
}
