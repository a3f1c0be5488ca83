# What the tests need beside Rust: a command, and the Debian package that has it.
PROGRAMS = mariadbd:mariadb-server mariadb:mariadb-client postgres:postgresql psql:postgresql-client \
	openssl:openssl curl:curl chromium:chromium chromedriver:chromium-driver npm:npm

.PHONY: run test check bench programs

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
bench:
	@sh tests/programs.sh haproxy:haproxy nginx:nginx-light wrk:wrk strace:strace taskset:util-linux
	rustup target add x86_64-unknown-linux-musl
	cargo build --release --locked --target x86_64-unknown-linux-musl
	cargo bench --locked --bench peers

programs:
	@sh tests/programs.sh $(PROGRAMS)
