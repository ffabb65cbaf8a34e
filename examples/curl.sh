#!/bin/sh
# Ask by curl: curl.sh MODEL [RUN]. By the model's Unix socket, and by the one loopback port for all models.
set -eu
model=$1
run=${2:-/run/edgefleet}

echo "models of this device:"
curl -sS --fail -X POST "http://127.0.0.1:$(cat "$run/port")/v2/repository/index"
echo
echo "what $model takes and gives:"
curl -sS --fail --unix-socket "$run/$model.sock" "http://localhost/v2/models/$model"
echo
echo "zeros answered, given and taken as JSON:"
curl -sS --fail --unix-socket "$run/$model.sock" "http://localhost/v2/models/$model" | python3 -c '
import json, math, sys
inputs = json.load(sys.stdin)["inputs"]
for row in inputs:
    row["shape"] = [1 if size < 0 else size for size in row["shape"]]
    row["data"] = [0] * math.prod(row["shape"])
print(json.dumps({"inputs": inputs}))' |
    curl -sS --fail --unix-socket "$run/$model.sock" --data-binary @- "http://localhost/v2/models/$model/infer"
echo
