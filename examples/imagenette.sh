#!/bin/sh
# E. Ten classes in train/ and validation/, in folders named by number, MobileNetV2 at 160 x 160: Dense(64), dropout and
# softmax for 3 epochs, then everything from layer 130 for 3 more. (With fewer than 9,469 pictures, use more epochs.)
# usage: imagenette.sh IMAGENETTE [EPOCHS]
set -eu
epochs=${2:-3}

cat > labels.txt <<'LABELS'
n01440764 tench
n02102040 English springer
n02979186 cassette player
n03000684 chain saw
n03028079 church
n03394916 French horn
n03417042 garbage truck
n03425413 gas pump
n03445777 golf ball
n03888257 parachute
LABELS
retrain train "$1" --backbone mobilenet_v2 --input-size 160 --labels-file labels.txt \
    --hidden-units 64 --dropout 0.2 --optimizer adam --learning-rate 0.0001 --batch-size 32 --epochs "$epochs" \
    --fine-tune-from 130 --fine-tune-epochs "$epochs"
