#!/bin/sh
# Builds an image's Python environment: install.sh FOLDER PACKAGE…
# Every version comes from requirements.lock, and every hash is checked: uv's by pip, all others by uv.
set -eu

folder=$1
shift
python3 -m venv "$folder"

tool=$(mktemp -d)
python3 -m venv "$tool"
awk '/^uv==/ { found = 1 } found { print } found && !/\\$/ { exit }' requirements.lock > "$tool/uv.txt"
"$tool/bin/python" -m pip install --quiet --no-cache-dir --require-hashes --requirement "$tool/uv.txt"

# The base image's certificates count, so that a company's own CA needs to be installed in one place only.
"$tool/bin/uv" pip install --python "$folder/bin/python" --no-cache --compile-bytecode --system-certs \
    --constraint requirements.lock "$@"
rm -rf "$tool"
