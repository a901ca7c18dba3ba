#!/bin/sh
# Renews the lock files of the image: the newest versions that pyproject.toml allows, with their hashes.
#
#     pip install uv && config/packaging/lock.sh
#
# requirements.txt is what the server runs with, in a cluster too, build.txt what its wheel is built with.
set -eu
cd "$(dirname "$0")/../.."

compile() {
    uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade \
        --no-header --no-annotate "$@"
}

compile --extra cluster --output-file config/packaging/requirements.txt pyproject.toml
python3 - <<'END' | compile --output-file config/packaging/build.txt -
import tomllib

with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)
hook = project["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]
print(*project["build-system"]["requires"], *hook["requires"], sep="\n")
END
