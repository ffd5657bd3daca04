#!/bin/sh
# Find the distribution's packages that are missing here, and install them; make calls it before it makes an environment.
#
#   tools/packages.sh [browser] [redis] [compiler]    besides Python with venv: what the tests need
#
# PYTHON names the Python, CHROMIUM a browser that has another name; SKIP_BROWSER=1, SKIP_REDIS=1 and SKIP_COMPILER=1 do
# without. As root, or with a sudo that asks for no password, missing packages are installed by apt-get. Else the line that
# installs them is printed, nothing is done, and it ends with 1.
set -eu

python=${PYTHON:-python3}
missing=

has() { command -v "$1" >/dev/null 2>&1; }
need() { missing="$missing $*"; }

if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    case ${python##*/} in
    python3.*) name=${python##*/} ;; # its packages are called like it
    *) name=python3 ;;
    esac
    has "$python" || need "$name"
    need "$name-venv"
fi
for wanted in "$@"; do
    case $wanted in
    browser)
        [ "${SKIP_BROWSER:-}" = 1 ] || [ -n "${CHROMIUM:-}" ] || has chromium || has chromium-browser || has google-chrome ||
            need chromium fonts-dejavu-core
        ;;
    redis) [ "${SKIP_REDIS:-}" = 1 ] || has redis-server || need redis-server ;;
    compiler) [ "${SKIP_COMPILER:-}" = 1 ] || has cc || need gcc libc6-dev ;;
    *)
        echo "tools/packages.sh: expected browser, redis or compiler, found $wanted" >&2
        exit 2
        ;;
    esac
done
[ -n "$missing" ] || exit 0

if ! has apt-get; then
    echo "Missing here, by the names that Debian has for them:$missing" >&2
    exit 1
elif [ "$(id -u)" = 0 ]; then
    sudo=
elif has sudo && sudo -n true 2>/dev/null; then
    sudo="sudo -n"
else
    echo "Packages are missing; install them, then run make again:" >&2
    echo "  sudo apt-get install --no-install-recommends$missing" >&2
    exit 1
fi
echo "Installing by apt-get:$missing"
$sudo apt-get update -qq
# shellcheck disable=SC2086  # words, not one argument
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing
