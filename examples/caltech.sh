#!/bin/sh
# C. Ten animals of Caltech-256, ResNet50: 60 pictures of each for training, 10 for validation, the rest for the test.
# Draw curves of all three sets and a sheet of predictions; then train the same head to its optimum; then train the last
# three layers, too.
# usage: caltech.sh PICTURES [BACKBONE] [TRAINING_PICTURES] [VALIDATION_PICTURES]
set -eu

train() {
    retrain train "$pictures" --backbone "$backbone" --train-per-class "$training" --validation-per-class "$validation" "$@"
}
pictures=$1 backbone=${2:-resnet50} training=${3:-60} validation=${4:-10}

train --optimizer adam --epochs 15 --plots --model-dir model_epochs
train --optimizer lbfgs --model-dir model_optimum
train --optimizer adam --epochs 15 --plots --fine-tune-layers 3 --fine-tune-epochs 5 --model-dir model_fine_tuned
