# Short names for this repository's commands, which also work without just. `just` lists them.

_default:
    @just --list --unsorted

# Build the three programs
build:
    cargo build

# All checks, as the hosted checks run them; `just test --tools` only installs the servers and tools
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

# A benchmark: oneshot, relay, routes, throttle, backlog, chatter, commands, webhooks or page
bench name="oneshot" *args:
    tests/bench/{{ name }} {{ args }}

# Random faults of servers, relays and streams for ten minutes: `just faults --minutes 1 --seed 7`
faults *args:
    tests/faults {{ args }}

# nats-server, relay and bridge on this machine, until Ctrl-C
up:
    deploy/up

# deb, rpm and tarball of the three programs, in target/package
package:
    deploy/package

# Rewrite the committed schemas, the OpenAPI document and the expected texts; read the diff
bless:
    BLESS=1 cargo test -p relay --test check --test explain --test page
    BLESS=1 cargo test -p bridge --test schema
    BLESS=1 cargo test -p tests webhooks_gallery::
    BLESS=1 cargo test -p tests guides::the_reference
