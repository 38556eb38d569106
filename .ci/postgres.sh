#!/bin/sh
# A throwaway PostgreSQL for the tests, on loopback and in a temporary directory.
#
#   eval "$(.ci/postgres.sh start)"    # sets COUNTERFOIL_TEST_POSTGRES, installs PostgreSQL if there is none
#   cargo test -p counterfoil-party
#   .ci/postgres.sh stop
#
# `start` prints one line on standard output, for eval; everything else goes to standard error.
# Where the cluster is stands in target/postgres.state, for `stop` and for a second `start`.
set -eu

folder=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
mkdir -p "$folder/../target"
state="$folder/../target/postgres.state"

say() { echo "postgres.sh: $*" >&2; }

# The newest server's programs: in PATH, or where Debian puts them.
find_programs() {
    if command -v initdb >/dev/null 2>&1 && command -v pg_ctl >/dev/null 2>&1; then
        dirname -- "$(command -v initdb)"
        return
    fi
    for programs in $(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -t/ -k5 -rn); do
        if [ -x "$programs/initdb" ]; then
            echo "$programs"
            return
        fi
    done
    return 1
}

install() {
    [ "$(id -u)" = 0 ] || { say "PostgreSQL is not installed: run as root once, or apt-get install postgresql"; exit 1; }
    say "installing the package postgresql"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >&2
    apt-get install -y -qq --no-install-recommends postgresql >&2
}

# PostgreSQL refuses to run as root: then it runs as the user that owns the cluster.
as_owner() {
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid="$owner" --regid="$(id -g "$owner")" --clear-groups -- env HOME="$base" "$@"
    else
        "$@"
    fi
}

start() {
    if [ -f "$state" ]; then
        say "an earlier cluster is there, stopping it"
        stop
    fi
    programs=$(find_programs) || { install; programs=$(find_programs); }
    base=$(mktemp -d "${TMPDIR:-/tmp}/counterfoil-postgres.XXXXXX")
    owner=$(id -un)
    if [ "$owner" = root ]; then
        owner=postgres
        id "$owner" >/dev/null 2>&1 || owner=nobody
        chown "$owner" "$base"
    fi
    printf '%s\n%s\n%s\n' "$programs" "$base" "$owner" > "$state"
    password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    (umask 077; printf '%s\n' "$password" > "$base/password")
    [ "$(id -u)" != 0 ] || chown "$owner" "$base/password"

    as_owner "$programs/initdb" -D "$base/data" -U agent -A scram-sha-256 --pwfile="$base/password" \
        -E UTF8 --no-locale --no-sync >"$base/initdb.log" 2>&1 || { cat "$base/initdb.log" >&2; exit 1; }
    rm -f "$base/password"

    # A port may be taken between looking and starting, so several are tried.
    for attempt in 1 2 3 4 5; do
        port=$((20000 + $(od -An -N2 -tu2 /dev/urandom) % 20000))
        options="-c listen_addresses=127.0.0.1 -p $port -k $base -c fsync=off -c max_connections=50"
        if as_owner "$programs/pg_ctl" -D "$base/data" -l "$base/server.log" -w -t 30 -o "$options" start >&2; then
            echo "export COUNTERFOIL_TEST_POSTGRES='postgres://agent:$password@127.0.0.1:$port/postgres'"
            return
        fi
        say "attempt $attempt on port $port failed"
    done
    cat "$base/server.log" >&2
    stop
    exit 1
}

stop() {
    [ -f "$state" ] || { say "no cluster is running"; return; }
    { read -r programs; read -r base; read -r owner; } < "$state"
    as_owner "$programs/pg_ctl" -D "$base/data" -m immediate -w stop >&2 || say "it was not running"
    # Only what start made: the name is from mktemp.
    case "$base" in
        */counterfoil-postgres.??????) rm -rf -- "$base" ;;
    esac
    rm -f "$state"
}

case "${1:-}" in
    start)
        # So that `eval "$(… start)"` fails too: of a failed command without output it would make a success.
        trap '[ $? = 0 ] || echo false' EXIT
        start
        ;;
    stop) stop ;;
    *) say "use: postgres.sh start | stop"; exit 2 ;;
esac
