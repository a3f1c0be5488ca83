# Makes sure that the programs which the tests start are there: each argument
# is COMMAND:PACKAGE. What is missing is installed with apt where that may be
# done, and named in one line otherwise. What comes from PyPI and from npm goes
# into directories of its own.
set -eu

from_pypi="schemathesis==4.32.5 PyMySQL==1.1.2 psycopg==3.3.9 psycopg-binary==3.3.9 prometheus-client==0.23.1"
python=target/python
from_npm="axe-core@4.14.1"
npm=target/axe

missing=
python3 -c 'import venv, ensurepip' 2>/dev/null || missing=" python3-venv"
for pair in "$@"; do
	program=${pair%%:*}
	command -v "$program" >/dev/null && continue
	# Servers are not on everybody's path; those of PostgreSQL are beside each other, by version.
	for place in /usr/sbin /usr/lib/postgresql/*/bin; do
		test ! -x "$place/$program" || continue 2
	done
	missing="$missing ${pair##*:}"
done

install_from_pypi() {
	[ "$(cat $python/installed 2>/dev/null)" != "$from_pypi" ] || return 0
	mkdir -p target
	log=$(mktemp)
	if python3 -m venv $python && $python/bin/pip install --quiet --disable-pip-version-check $from_pypi; then
		echo "$from_pypi" >$python/installed
		return 0
	fi >"$log" 2>&1
	tail -n 5 "$log" >&2
	rm -rf $python
	echo "the tests need $from_pypi from PyPI in $python: python3 -m venv $python && $python/bin/pip install $from_pypi" >&2
	return 1
}

install_from_npm() {
	[ "$(cat $npm/installed 2>/dev/null)" != "$from_npm" ] || return 0
	mkdir -p target
	log=$(mktemp)
	if npm install --prefix $npm --no-audit --no-fund --no-update-notifier --ignore-scripts $from_npm; then
		echo "$from_npm" >$npm/installed
		return 0
	fi >"$log" 2>&1
	tail -n 5 "$log" >&2
	rm -rf $npm
	echo "the tests need $from_npm from npm in $npm: npm install --prefix $npm $from_npm" >&2
	return 1
}

install_from_registries() {
	install_from_pypi
	# The benchmarks need no npm, and nothing from it.
	case " $* " in *" npm:npm "*) install_from_npm ;; esac
}

if [ -z "$missing" ]; then
	install_from_registries "$@"
	exit
fi

if [ "$(id -u)" -eq 0 ]; then
	as_root=
elif sudo -n true 2>/dev/null; then
	as_root="sudo -n"
else
	as_root=none
fi
if [ "$as_root" != none ] && command -v apt-get >/dev/null; then
	log=$(mktemp)
	# A package's own service is not wanted; the tests start their own.
	if { $as_root apt-get update && $as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
		apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1; then
		rm -f "$log"
		install_from_registries "$@"
		exit
	fi
	tail -n 5 "$log" >&2
	rm -f "$log"
fi
echo "the tests need these Debian packages, please install them:$missing" >&2
exit 1
