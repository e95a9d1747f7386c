#!/bin/sh
# B. Ten classes of animals of unequal size, MobileNetV2: distorted copies, class weights, dropout, Adam. Train the head
# first, then the last 20 layers of the network with it.
# usage: animals10.sh ANIMALS10
set -eu

retrain train "$1" --backbone mobilenet_v2 \
    --augment 5 --flip --shift 10 --rotate 20 --zoom 20 --crop 10 --stretch 20 \
    --class-weight balanced --dropout 0.2 --optimizer adam --epochs 50 \
    --fine-tune-layers 20 --fine-tune-epochs 5
