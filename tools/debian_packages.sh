#!/bin/sh
# Have the programs that tests start.  Arguments: PROGRAM=PACKAGE, or PROGRAM where both have one name.
# On Debian as root missing packages are installed; else one line tells which to install, which fails if CI is set.
# Debian keeps servers out of users' PATH.
PATH=$(printf '%s:' "$PATH" /usr/sbin /usr/lib/postgresql/*/bin)
missing=
for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null || missing="$missing ${pair##*=}"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    # A freshly installed server must not start by itself.
    # shellcheck disable=SC2086
    apt-get update -qq && RUNLEVEL=1 apt-get install -qq --yes --no-install-recommends $missing >/dev/null && exit 0
fi
echo "to run all tests: apt-get install$missing" >&2
[ -z "$CI" ]
