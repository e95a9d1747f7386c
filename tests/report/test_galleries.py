"""Galleries."""

import dataclasses

import numpy as np
from support.judged import Shown, make_judged

from retrain.report.contents import Absent
from retrain.report.galleries import galleries_of, gallery_numbers

MOST = {"mistakes": 5, "unsure": 4, "right": 6}


def galleries(pictures, show=None):
    return galleries_of(pictures, show or Shown(), gallery_numbers(pictures), MOST)


def test_the_surest_mistakes_come_first():
    pictures = make_judged((50, 50, 50), noise=0.7)
    mistakes, unsure, right = galleries(pictures)
    wrong = pictures.shown[~pictures.is_right[pictures.shown]]
    assert mistakes.total == len(wrong) > 5
    assert len(mistakes.pictures) == 5
    scores = pictures.scores[[*mistakes.pictures], 0]
    assert scores.tolist() == sorted(pictures.scores[wrong, 0], reverse=True)[:5]
    assert [*mistakes.paths[:5]] == [pictures.paths[number] for number in mistakes.pictures]
    assert len(mistakes.paths) == mistakes.total
    margins = pictures.scores[:, 0] - pictures.scores[:, 1]
    assert margins[[*unsure.pictures]].max() <= np.sort(margins[pictures.shown])[3]
    assert all(pictures.is_right[number] for number in right.pictures)


def test_right_ones_are_of_every_class():
    pictures = make_judged((60, 30, 30), noise=0.2)
    right = galleries(pictures)[2]
    assert sorted(pictures.labels[[*right.pictures]].tolist()) == [0, 0, 1, 1, 2, 2]


def test_no_mistakes_and_nothing_but_mistakes():
    pictures = make_judged(noise=0.01)
    mistakes = galleries(pictures)[0]
    assert (mistakes.total, mistakes.pictures, mistakes.paths) == (0, (), ())
    assert mistakes.explanation == "None: all of 18 test pictures have the right label."
    wrong = dataclasses.replace(pictures, labels=(pictures.labels + 1) % 3)
    assert galleries(wrong)[2].explanation == "None of 18 test pictures has the right label."


def test_without_held_out_pictures_there_are_none():
    assert isinstance(galleries(make_judged(sets="train")), Absent)
