//! What the kernel granted a range, from the text of `/proc/self/smaps` and `/proc/self/numa_maps`.
//!
//! Pure: text in, figures out. It relies on the range being its own line of smaps, which the guards
//! see to: without them the kernel merges neighbours of the same kind, and their figures.

use super::kernel::field_bytes;
use super::options::PageKind;
use super::report::PagesGranted;
use super::span::Span;

/// The figures of one range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) pages: PagesGranted,
    pub(crate) locked_bytes: usize,
}

/// The figures of all mappings inside `range`, None when the text has none of them.
pub(crate) fn granted(smaps: &str, range: Span) -> Option<Granted> {
    let mut sum = None;
    let mut rest = smaps;
    while let Some((span, body, next)) = next_mapping(rest) {
        assert!(next.len() < rest.len(), "smaps isn't getting shorter");
        if range.contains(span) {
            add_mapping(sum.get_or_insert_default(), body);
        }
        rest = next;
    }
    sum
}

/// The first mapping of the text: its addresses, its fields, and the text behind it.
fn next_mapping(text: &str) -> Option<(Span, &str, &str)> {
    let mut lines = text.split_inclusive('\n');
    let mut skipped = 0;
    let span = lines.find_map(|line| {
        skipped += line.len();
        header(line)
    })?;
    let body_len: usize = lines.take_while(|line| header(line).is_none()).map(str::len).sum();
    let (body, next) = text[skipped..].split_at(body_len);
    Some((span, body, next))
}

/// The addresses of a line like `7f0000000000-7f0000200000 rw-p 00000000 00:00 0`.
fn header(line: &str) -> Option<Span> {
    let (first, end) = line.split_whitespace().next()?.split_once('-')?;
    let first = usize::from_str_radix(first, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    Span::new(first, end.checked_sub(first)?).ok()
}

fn add_mapping(sum: &mut Granted, body: &str) {
    let bytes = |name| field_bytes(body, name).unwrap_or(0);
    let reserved_bytes = bytes("Private_Hugetlb:") + bytes("Shared_Hugetlb:");
    if reserved_bytes > 0 {
        let page_bytes = bytes("KernelPageSize:");
        let huge_1g = page_bytes == PageKind::Huge1G.bytes(0);
        let kind =
            if huge_1g { &mut sum.pages.huge_1g_bytes } else { &mut sum.pages.huge_2m_bytes };
        *kind += reserved_bytes;
        sum.locked_bytes += reserved_bytes;
    }
    let thp_bytes = bytes("AnonHugePages:");
    sum.pages.thp_bytes += thp_bytes;
    sum.pages.small_bytes += bytes("Rss:").saturating_sub(thp_bytes);
    sum.locked_bytes += bytes("Locked:");
}

/// The bytes of `range` on each node, rising by node, from the text of numa_maps.
pub(crate) fn bytes_by_node(numa_maps: &str, range: Span) -> Vec<(u32, usize)> {
    let mut nodes: Vec<(u32, usize)> = Vec::new();
    for line in numa_maps.lines() {
        let mut words = line.split_whitespace();
        let first = words.next().and_then(|word| usize::from_str_radix(word, 16).ok());
        let inside = first
            .and_then(|first| Span::new(first, 1).ok())
            .is_some_and(|first| range.overlaps(first));
        if !inside {
            continue;
        }
        let words: Vec<&str> = words.collect();
        let page_kib: Option<usize> =
            words.iter().find_map(|word| word.strip_prefix("kernelpagesize_kB=")?.parse().ok());
        for (node, pages) in words.iter().filter_map(|word| node_pages(word)) {
            let bytes = pages.saturating_mul(page_kib.unwrap_or(4)).saturating_mul(1024);
            match nodes.iter_mut().find(|(known, _)| *known == node) {
                Some((_, sum)) => *sum += bytes,
                None => nodes.push((node, bytes)),
            }
        }
    }
    nodes.sort_unstable();
    assert!(nodes.windows(2).all(|pair| pair[0].0 < pair[1].0), "a node is counted twice");
    nodes
}

/// The node and page count of a word like `N0=512`.
fn node_pages(word: &str) -> Option<(u32, usize)> {
    let (node, pages) = word.strip_prefix('N')?.split_once('=')?;
    Some((node.parse().ok()?, pages.parse().ok()?))
}

#[cfg(test)]
mod tests;
