# What the tests need beside Rust: a command, and the Debian package that has it.
PROGRAMS = mariadbd:mariadb-server mariadb:mariadb-client postgres:postgresql psql:postgresql-client \
	openssl:openssl curl:curl prometheus:prometheus promtool:prometheus

# What `make static` builds for: x86_64-unknown-linux-musl, or another one whose
# C library is linked into the binary.
TARGET ?= x86_64-unknown-linux-musl

# The linker that comes with Rust, for every target; it folds functions that are
# the same and packs relocations. Frame pointers make the tables for unwinding
# a quarter smaller.
STATIC_FLAGS = -C linker=rust-lld -C link-arg=-O2 -C link-arg=--icf=all \
	-C link-arg=--pack-dyn-relocs=relr -C force-frame-pointers=yes

# STD=small builds the standard library for size, too, without the part that
# prints backtraces: a fifth less. Its source is a component of rustup, and the
# flags are none that Rust has made stable.
STD ?= prebuilt
SMALL_STD = -Z build-std=std,panic_unwind -Z build-std-features=optimize_for_size

.PHONY: run test check bench static soak programs

run:
	cargo run --release --locked -- --config src/config/example.cnf

test: programs
	cargo test --locked

check: programs
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo test --locked
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

# Beside peers; see tests/bench/README.md.
bench: static
	@sh tests/programs.sh haproxy:haproxy nginx:nginx-light wrk:wrk strace:strace valgrind:valgrind taskset:util-linux
	cargo bench --locked --bench peers

# Prints where the binary is, and how large.
static:
	@rustup target list --installed | grep -qx $(TARGET) || rustup target add $(TARGET)
	$(if $(filter small,$(STD)),rustup component add rust-src && RUSTC_BOOTSTRAP=1) \
		RUSTFLAGS="$(STATIC_FLAGS)" cargo build --locked --profile static --target $(TARGET) \
		$(if $(filter small,$(STD)),$(SMALL_STD))
	@ls -l target/$(TARGET)/static/sessiond

# Two minutes of everything at once, or SOAK_SECONDS of them; see tests/integration/soak.
soak: programs
	cargo test --locked --test integration -- --ignored --exact --nocapture \
		soak::nothing_is_left_of_two_minutes_of_everything

programs:
	@sh tests/programs.sh $(PROGRAMS)
