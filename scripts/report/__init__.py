"""From a benchmark's output to the pages of this repository.

The life of a record: `take` runs a benchmark and writes its output as a record (`records`);
`tables` and `targets` turn records into lines of Markdown, with the help of `figures`; `pages` puts
these between the markers of a page, or checks them there. The bars for measured figures are in
targets.toml. `tests` tests all of it without measuring anything.

scripts/record, scripts/update-performance-md and scripts/test-records are its commands.
"""
