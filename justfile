# The commands people type here; `just` lists them. Each is one line, which can also be typed without just.

_default:
    @just --list --unsorted

# Build the three programs
build:
    cargo build

# Everything that must hold, as the hosted checks run it; `just test --tools` only installs what the tests need
test *args:
    tests/run {{ args }}

# The tests whose name contains NAME: `just test-one takeover`, `just test-one engine -p relay`
test-one name *args:
    cargo build --quiet && cargo test {{ args }} {{ name }}

# Clippy over everything, with warnings as errors
lint:
    cargo clippy --workspace --all-targets -- -D warnings

# Format all Rust code
fmt:
    cargo fmt --all

# A benchmark: oneshot, relay, routes, throttle, backlog or page
bench name="oneshot" *args:
    tests/bench/{{ name }} {{ args }}

# nats-server, relay and bridge on this machine, until Ctrl-C
up:
    deploy/up

# Write the committed schemas, the OpenAPI document and the expected texts of the relay's tests anew; look at the diff
bless:
    BLESS=1 cargo test -p relay --test check --test explain --test page
