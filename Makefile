# What the tests need beside Rust: a command, and the Debian package that has it.
PROGRAMS = mariadbd:mariadb-server mariadb:mariadb-client postgres:postgresql psql:postgresql-client \
	openssl:openssl curl:curl prometheus:prometheus promtool:prometheus \
	chromium:chromium chromedriver:chromium-driver npm:npm \
	systemd-analyze:systemd strace:strace man:man-db zsh:zsh fish:fish
INSTALL_PROGRAMS = @sh tests/programs.sh $(PROGRAMS)

# What `make static` builds for: x86_64-unknown-linux-musl, or another one whose
# C library is linked into the binary.
TARGET ?= x86_64-unknown-linux-musl
BINARY = target/$(TARGET)/static/sessiond

# The linker that comes with Rust, for every target; it folds functions that are
# the same and packs relocations. Frame pointers make the tables for unwinding
# a quarter smaller. SHA-256 for processors without instructions for it is a loop.
STATIC_FLAGS = -C linker=rust-lld -C link-arg=-O2 -C link-arg=--icf=all \
	-C link-arg=--pack-dyn-relocs=relr -C force-frame-pointers=yes \
	--cfg sha2_backend_soft=\"compact\"

# STD=small builds the standard library for size, too, without the part that
# prints backtraces, and has fewer functions made part of their callers: a fifth
# less. Its source is a component of rustup, and the flags are none that Rust has
# made stable.
STD ?= prebuilt
SMALL_STD = -Z build-std=std,panic_unwind -Z build-std-features=optimize_for_size
SMALL_FLAGS = -C llvm-args=-inlinehint-threshold=50

# Where `install` puts things; DESTDIR stands before all of it. The program reads /etc/sessiond.cnf.
PREFIX = /usr/local
bin = $(DESTDIR)$(PREFIX)/bin
lib = $(DESTDIR)$(PREFIX)/lib
share = $(DESTDIR)$(PREFIX)/share
examples = $(share)/doc/sessiond/examples
configuration = $(DESTDIR)/etc/sessiond.cnf

.PHONY: run test check bench static test-static install uninstall deb soak

run:
	cargo run --release --locked -- --config src/config/example.cnf

test:
	$(INSTALL_PROGRAMS)
	cargo test --locked

check:
	$(INSTALL_PROGRAMS)
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
		RUSTFLAGS="$(STATIC_FLAGS)$(if $(filter small,$(STD)), $(SMALL_FLAGS))" cargo build --locked --profile static --target $(TARGET) \
		$(if $(filter small,$(STD)),$(SMALL_STD))
	@ls -l $(BINARY)

# Two minutes of everything at once, or SOAK_SECONDS of them; see tests/integration/soak.
soak:
	$(INSTALL_PROGRAMS)
	cargo test --locked --test integration -- --ignored --exact --nocapture \
		soak::nothing_is_left_of_two_minutes_of_everything

test-static: static
	$(INSTALL_PROGRAMS)
	SESSIOND_PROGRAM=$(abspath $(BINARY)) cargo test --locked --test integration

# Installs what `make static` has built, or another BINARY. A configuration that
# is there already stays as it is.
install:
	@test -x $(BINARY) || { echo "$(BINARY) is not there: make static first, or name another BINARY=" >&2; exit 1; }
	install -D -m 0755 $(BINARY) $(bin)/sessiond
	install -D -m 0644 src/package/sessiond.8 $(share)/man/man8/sessiond.8
	install -D -m 0644 src/package/sessiond.cnf.5 $(share)/man/man5/sessiond.cnf.5
	install -D -m 0644 src/package/sessiond.sysusers $(lib)/sysusers.d/sessiond.conf
	install -D -m 0644 src/package/systemd/sessiond.service $(lib)/systemd/system/sessiond.service
	sed -i 's,/usr/bin/sessiond,$(PREFIX)/bin/sessiond,' $(lib)/systemd/system/sessiond.service
	install -D -m 0644 src/package/sessiond.socket $(examples)/sessiond.socket
	install -D -m 0644 src/config/example.cnf $(examples)/sessiond.cnf
	install -D -m 0644 src/package/completions/sessiond.bash $(share)/bash-completion/completions/sessiond
	install -D -m 0644 src/package/completions/_sessiond $(share)/zsh/site-functions/_sessiond
	install -D -m 0644 src/package/completions/sessiond.fish $(share)/fish/vendor_completions.d/sessiond.fish
	test -e $(configuration) || install -D -m 0644 src/config/example.cnf $(configuration)

# The configuration stays, unless it is the example still.
uninstall:
	rm -f $(bin)/sessiond $(share)/man/man8/sessiond.8 $(share)/man/man5/sessiond.cnf.5 \
		$(lib)/sysusers.d/sessiond.conf $(lib)/systemd/system/sessiond.service \
		$(share)/bash-completion/completions/sessiond $(share)/zsh/site-functions/_sessiond \
		$(share)/fish/vendor_completions.d/sessiond.fish
	rm -rf $(share)/doc/sessiond
	! cmp -s src/config/example.cnf $(configuration) || rm $(configuration)

deb: static
	command -v cargo-deb >/dev/null || cargo install cargo-deb --locked
	cargo deb --locked --no-build --profile static --target $(TARGET)
