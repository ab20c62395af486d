#!/usr/bin/env bash
# fetch_arm64.sh DIR: unpacks Debian's arm64 packages of the libraries that check_arm64.sh needs into DIR/root.
# They are fetched beside the system's own package lists, so that nothing is installed, and no architecture added.
set -euo pipefail
mkdir -p "$1/apt/lists/partial" "$1/apt/cache/archives/partial"
cd "$1"
apt=(apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State::status=/dev/null
    -o "Dir::State::lists=$PWD/apt/lists" -o "Dir::Cache=$PWD/apt/cache" -o APT::Sandbox::User=)
"${apt[@]}" update
cd apt
"${apt[@]}" download libcmocka-dev libcmocka0 libcjson-dev libcjson1 libxxhash-dev libxxhash0
for package in ./*_arm64.deb; do dpkg-deb -x "$package" ../root; done
cd ..
rm -r apt
