# Makes sure that the programs which the tests start are there: each argument
# is COMMAND:PACKAGE. What is missing is installed with apt where that may be
# done, and named in one line otherwise. One program comes from PyPI, into a
# directory of its own.
set -eu

schemathesis=schemathesis==4.32.5
python=target/python

missing=
python3 -c 'import venv, ensurepip' 2>/dev/null || missing=" python3-venv"
for pair in "$@"; do
	command -v "${pair%%:*}" >/dev/null || test -x "/usr/sbin/${pair%%:*}" || missing="$missing ${pair##*:}"
done

install_schemathesis() {
	[ ! -x $python/bin/st ] || return 0
	mkdir -p target
	log=$(mktemp)
	if python3 -m venv $python && $python/bin/pip install --quiet --disable-pip-version-check $schemathesis; then
		return 0
	fi >"$log" 2>&1
	tail -n 5 "$log" >&2
	rm -rf $python
	echo "the tests need $schemathesis from PyPI in $python: python3 -m venv $python && $python/bin/pip install $schemathesis" >&2
	return 1
}

if [ -z "$missing" ]; then
	install_schemathesis
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
		install_schemathesis
		exit
	fi
	tail -n 5 "$log" >&2
	rm -f "$log"
fi
echo "the tests need these Debian packages, please install them:$missing" >&2
exit 1
