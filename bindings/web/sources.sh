#!/usr/bin/env bash
# Fetches the source packages of the dependencies from the system's Debian or Ubuntu mirror into FOLDER and unpacks them:
# bindings/web/sources.sh FOLDER. The system's own lists stay as they are; no root is needed. Links FOLDER/{cjson,pcre2,
# utf8proc,stb} lead to the trees. Elsewhere, give CMake your own trees (pkgconfig/tern-dependencies.cmake).
set -euo pipefail
[ $# = 1 ] || { echo "usage: bindings/web/sources.sh FOLDER" >&2; exit 2; }
packages="cjson pcre2 utf8proc libstb"
mkdir -p "$1"
root=$(cd "$1" && pwd)
[ "$(cat "$root/.complete" 2>/dev/null || true)" != "$packages" ] || exit 0
rm -rf "$root"/apt "$root"/trees
mkdir -p "$root/apt/lists/partial" "$root/apt/cache/archives/partial" "$root/apt/parts" "$root/trees"
# The system's own mirrors, asked for sources.
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
  [ -f "$file" ] && sed -n 's/^deb /deb-src /p' "$file" >"$root/apt/parts/$(basename "$file" .list).list"
done
for file in /etc/apt/sources.list.d/*.sources; do
  [ -f "$file" ] && sed 's/^Types:.*/Types: deb-src/' "$file" >"$root/apt/parts/$(basename "$file")"
done
options="-qq -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts=$root/apt/parts -o Dir::State::lists=$root/apt/lists
  -o Dir::Cache=$root/apt/cache -o Acquire::Languages=none -o APT::Sandbox::User=$(id -un)"
# shellcheck disable=SC2086
apt-get $options update || echo "some package lists could not be read; going on with the others" >&2
cd "$root/trees"
for package in $packages; do
  # The newest version first; a mirror may list one that it no longer has.
  # shellcheck disable=SC2086
  versions=$(apt-cache $options showsrc "$package" | sed -n 's/^Version: //p' | sort -rVu)
  found=""
  for version in $versions; do
    # shellcheck disable=SC2086
    if apt-get $options source --download-only "$package=$version" 2>>"$root/apt/log"; then found=$version; break; fi
  done
  [ -n "$found" ] || { echo "no sources of $package: $(tail -n 2 "$root/apt/log")" >&2; exit 1; }
  dsc=$(ls "${package}_"*.dsc)
  dpkg-source --no-check -x "$dsc" "$package" >/dev/null
  ln -sfn "trees/$package" "$root/${package#lib}"
done
rm -rf "$root/apt"
echo "$packages" >"$root/.complete"
