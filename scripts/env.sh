# Sourced by the scripts, from the repository's root: where builds and tools go, and what counts as a run of tests.
# shellcheck shell=bash

# Tools that the checks set up for themselves (a Python environment, the twins' work copy); safe to delete.
cache="${XDG_CACHE_HOME:-$HOME/.cache}/slipring"

# Whoever reaches the network through a proxy doesn't reach the tests' own servers through it.
export NO_PROXY="127.0.0.1${NO_PROXY:+,$NO_PROXY}" no_proxy="127.0.0.1${no_proxy:+,$no_proxy}"

# What a stranger's run builds: the library with all of its features, and the service without the clients of object storage. Steps that use this line share
# one build; other packages or features compile the library, and all that depends on it, once more.
# shellcheck disable=SC2034
units=(-p slipring -p slipring-ingest --features slipring/bytes,slipring/metrics)

# A check with its own compiler flags builds beside the main build, or each would throw the other's away.
target_beside() {
    printf '%s/%s' "${CARGO_TARGET_DIR:-$PWD/target}" "$1"
}

# Runs a test command and fails also when not one test ran: a filter that matches nothing would pass for ever.
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

# Nightly with the named components. An installed nightly is taken as it is: its date doesn't matter to the checks.
need_nightly() {
    if ! cargo +nightly --version >/dev/null 2>&1; then
        rustup toolchain install nightly --profile minimal
    fi
    rustup +nightly component add "$@"
}
