# Sourced by the scripts, from the repository's root: where builds and tools are, and what counts as
# a run of tests.
# shellcheck shell=bash

# Tools that the checks install for themselves (Python environments, the twins' work copies); safe
# to delete.
cache="${XDG_CACHE_HOME:-$HOME/.cache}/slipring"

# The tests' own servers must be reached directly, even if the network is reached through a proxy.
export NO_PROXY="127.0.0.1${NO_PROXY:+,$NO_PROXY}" no_proxy="127.0.0.1${no_proxy:+,$no_proxy}"

# What a plain `scripts/test` builds: the library with all of its features, and the service without
# the clients of object storage. Steps that use this line share one build. Other packages or
# features compile the library, and all that depends on it, once more.
# shellcheck disable=SC2034
units=(-p slipring -p slipring-ingest --features slipring/bytes,slipring/metrics)

# A check with its own compiler flags has its own build folder; otherwise each build would
# invalidate the other.
target_beside() {
    printf '%s/%s' "${CARGO_TARGET_DIR:-$PWD/target}" "$1"
}

# Runs a test command. Also fails if no test ran, because a filter that matches nothing would always
# pass.
run_some_tests() {
    local log
    log=$(mktemp)
    if ! "$@" 2>&1 | tee "$log"; then
        rm -f "$log"
        return 1
    fi
    if ! grep -Eq '^test result: ok\. [1-9]' "$log"; then
        echo "error: no test ran: $*"
        rm -f "$log"
        return 1
    fi
    rm -f "$log"
}

# Installs nightly with the named components. An installed nightly isn't updated: its date doesn't
# matter to the checks.
need_nightly() {
    if ! cargo +nightly --version >/dev/null 2>&1; then
        rustup toolchain install nightly --profile minimal
    fi
    rustup +nightly component add "$@"
}
