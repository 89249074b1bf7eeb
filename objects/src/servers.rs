//! [`ServerOptions`]: what servers may do.

/// What servers may do; see [`Stores::with_servers`](crate::Stores::with_servers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerOptions {
    /// Whether a redirect from https to http is followed. Default false: it takes the encryption
    /// away, which the URL or the endpoint asked for.
    pub insecure_redirects: bool,
    /// The most bytes of an object whose length the server doesn't say. Such an object is read to
    /// its end into memory of its own before it goes to its buffer. Default 256 MiB.
    pub unsized_bytes_max: u64,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self { insecure_redirects: false, unsized_bytes_max: 256 << 20 }
    }
}
