#!/bin/sh
# D. Alpaca or not, MobileNetV2 at 160 x 160: two classes, distorted copies, dropout. Then list the mistakes.
# usage: alpaca.sh PICTURES    (two folders: pictures of the thing, and pictures of other things)
set -eu

retrain train "$1" --backbone mobilenet_v2 --input-size 160 \
    --augment 5 --flip --rotate 72 --dropout 0.2 --optimizer adam --epochs 20
retrain predict model "$1" --wrong
