#!/usr/bin/env bash
# Unpacks the arm64 packages of the dependencies into a folder for the cross build: tests/arm_sysroot.sh FOLDER. The system's
# own packages and its list of architectures stay as they are; no root is needed.
set -euo pipefail
[ $# = 1 ] || { echo "usage: tests/arm_sysroot.sh FOLDER" >&2; exit 2; }
packages="libcjson-dev libcjson1 libpcre2-dev libpcre2-8-0 libutf8proc-dev libutf8proc2"
mkdir -p "$1"
root=$(cd "$1" && pwd)
[ "$(cat "$root/.complete" 2>/dev/null || true)" != "$packages" ] || exit 0
mkdir -p "$root/apt/lists/partial" "$root/apt/cache/archives/partial" "$root/apt/debs"
: >"$root/apt/status"
apt() {
  apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o Dir::State::lists="$root/apt/lists" \
    -o Dir::State::status="$root/apt/status" -o Dir::Cache="$root/apt/cache" -o Acquire::Languages=none \
    -o APT::Sandbox::User="$(id -un)" "$@"
}
apt update || echo "some package lists could not be read; going on with the others" >&2
cd "$root/apt/debs"
rm -f ./*.deb
# shellcheck disable=SC2086
apt download $packages
for package in *.deb; do dpkg-deb -x "$package" "$root"; done
rm -rf "$root/apt"
echo "$packages" >"$root/.complete"
