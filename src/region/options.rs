//! The request for a region: `RegionOptions` and the values of its fields. What is granted is in
//! [`crate::region::RegionReport`].

use std::fmt;
use std::str::FromStr;

/// What to map and how. Every field but `bytes` is a preference, and the report shows what was
/// granted; the `Require` values turn a preference into a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RegionOptions {
    /// The usable length in bytes, rounded up to a base page. Default 64 MiB. The mapped length is
    /// rounded up to the page kind.
    pub(crate) bytes: usize,
    /// The kind of pages. Default [`Pages::PreferThp`].
    pub(crate) pages: Pages,
    /// Whether the pages are locked in memory. Default [`Lock::Off`].
    pub(crate) lock: Lock,
    /// The NUMA node. Default [`Numa::Local`]. It has no effect on a machine with one node.
    pub(crate) numa: Numa,
    /// Whether core dumps contain the region's bytes. Default false: payloads stay out of dumps.
    pub(crate) dump: bool,
    /// Whether a forked child inherits the region's bytes. Default false: in a child all of them
    /// are zero, and a fork never makes the parent copy pages.
    pub(crate) fork: bool,
}

impl Default for RegionOptions {
    fn default() -> Self {
        RegionOptions {
            bytes: 64 << 20,
            pages: Pages::PreferThp,
            lock: Lock::Off,
            numa: Numa::Local,
            dump: false,
            fork: false,
        }
    }
}

/// The kind of pages that a region is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pages {
    /// Base pages (4 KiB on x86-64, up to 64 KiB on aarch64). No huge pages, even where the kernel
    /// would use them by itself.
    Small,
    /// Transparent huge pages, else base pages. The length is rounded up to 2 MiB.
    #[default]
    PreferThp,
    /// Reserved huge pages of 2 MiB, else as [`Pages::PreferThp`].
    Prefer2M,
    /// Reserved huge pages of 1 GiB, else as [`Pages::Prefer2M`].
    Prefer1G,
    /// Reserved huge pages of 2 MiB, else an error.
    Require2M,
    /// Reserved huge pages of 1 GiB, else an error.
    Require1G,
}

impl Pages {
    /// All values with their words on the command line.
    const WORDS: [(Pages, &'static str); 6] = [
        (Pages::Small, "4k"),
        (Pages::PreferThp, "prefer-thp"),
        (Pages::Prefer2M, "prefer-2m"),
        (Pages::Prefer1G, "prefer-1g"),
        (Pages::Require2M, "require-2m"),
        (Pages::Require1G, "require-1g"),
    ];

    /// The words, in the order of [`Pages`].
    pub(crate) fn words() -> impl Iterator<Item = &'static str> {
        Pages::WORDS.iter().map(|(_, word)| *word)
    }

    /// The page kinds to try, best first. If one is refused for any reason, the next is tried.
    pub(crate) fn ladder(self) -> &'static [PageKind] {
        match self {
            Pages::Small => &[PageKind::Small],
            Pages::PreferThp => &[PageKind::Thp, PageKind::Small],
            Pages::Prefer2M => &[PageKind::Huge2M, PageKind::Thp, PageKind::Small],
            Pages::Prefer1G => {
                &[PageKind::Huge1G, PageKind::Huge2M, PageKind::Thp, PageKind::Small]
            }
            Pages::Require2M => &[PageKind::Huge2M],
            Pages::Require1G => &[PageKind::Huge1G],
        }
    }
}

impl fmt::Display for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Pages::WORDS.iter().find(|(pages, _)| pages == self);
        assert!(word.is_some(), "a value of Pages has no word");
        f.pad(word.map_or("", |(_, word)| word))
    }
}

impl FromStr for Pages {
    type Err = ParsePagesError;

    fn from_str(text: &str) -> Result<Pages, ParsePagesError> {
        let found = Pages::WORDS.iter().find(|(_, word)| *word == text);
        found.map(|(pages, _)| *pages).ok_or_else(|| ParsePagesError { text: text.to_owned() })
    }
}

/// A text that isn't a word of [`Pages`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParsePagesError {
    /// The text.
    pub text: String,
}

impl fmt::Display for ParsePagesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pages: {:?} isn't one of", self.text)?;
        for (number, word) in Pages::words().enumerate() {
            write!(f, "{} {word}", if number == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl std::error::Error for ParsePagesError {}

/// Whether the pages of a region are locked in memory (`mlock`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lock {
    /// Not locked.
    #[default]
    Off,
    /// Locked if the kernel allows it, else a downgrade in the report.
    Prefer,
    /// Locked, else an error. Reserved huge pages are never swapped and count as locked.
    Require,
}

/// The NUMA node of a region's pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Numa {
    /// The node of the CPU that maps the region. If that node is full, pages come from other nodes,
    /// and the report says so.
    #[default]
    Local,
    /// This node only. It is an error if the node doesn't exist or can't hold the region.
    Node(u32),
    /// As the thread's memory policy says.
    Any,
}

/// One kind of page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageKind {
    /// Base pages: 4 KiB on x86-64, 4, 16 or 64 KiB on aarch64.
    Small,
    /// Transparent huge pages of 2 MiB.
    Thp,
    /// Huge pages of 2 MiB from the kernel's reserved pool.
    Huge2M,
    /// Huge pages of 1 GiB from the kernel's reserved pool.
    Huge1G,
}

impl PageKind {
    /// Bytes per page, on a machine with base pages of `page_bytes`. A mapped length is a multiple
    /// of it. Transparent huge pages are larger than 2 MiB where base pages are larger than 4 KiB.
    /// There a mapping gets one only where it contains all of it.
    pub(crate) fn bytes(self, page_bytes: usize) -> usize {
        match self {
            PageKind::Small => page_bytes,
            PageKind::Thp | PageKind::Huge2M => 2 << 20,
            PageKind::Huge1G => 1 << 30,
        }
    }

    /// Whether the pages come from the kernel's reserved pool, apart from the memory that all
    /// processes compete for.
    pub(crate) fn is_reserved(self) -> bool {
        matches!(self, PageKind::Huge2M | PageKind::Huge1G)
    }
}

impl fmt::Display for PageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            PageKind::Small => "base pages",
            PageKind::Thp => "transparent huge pages",
            PageKind::Huge2M => "reserved 2 MiB pages",
            PageKind::Huge1G => "reserved 1 GiB pages",
        })
    }
}
