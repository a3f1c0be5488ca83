# What the tests need beside Rust: a command, and the Debian package that has it.
PROGRAMS = mariadbd:mariadb-server mariadb:mariadb-client postgres:postgresql psql:postgresql-client \
	openssl:openssl curl:curl

.PHONY: run test check programs

run:
	cargo run --release --locked -- --config src/config/example.cnf

test: programs
	cargo test --locked

check: programs
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo test --locked
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

programs:
	@sh tests/programs.sh $(PROGRAMS)
