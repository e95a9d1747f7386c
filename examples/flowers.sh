#!/bin/sh
# A. Flowers, Inception v3: compute bottlenecks once, train for 4,000 steps of 10 pictures, show all scores of a picture.
# usage: flowers.sh FLOWER_PHOTOS
set -eu

retrain train "$1" --batch-size 10
retrain predict model "$(find "$1/tulips" -name '*.jpg' | sort | head -n 1)"
