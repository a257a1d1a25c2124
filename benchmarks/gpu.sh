#!/bin/sh
# Fits, k-NN graphs and indexes on the GPU and on the CPU of one machine, in under 8 minutes:
# benchmarks/training/gpu.py. PYTHON names the interpreter.
set -eu
cd "$(dirname "$0")/.."
exec "${PYTHON:-python3}" -m benchmarks.training.gpu "$@"
