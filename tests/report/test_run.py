"""What is known of a run."""

from support.runs import make_record, make_run

from retrain.report.run import recipe_of, training_options


def test_the_recipe_can_be_pasted_and_names_what_is_not_the_default():
    recipe = recipe_of(make_run())
    assert recipe.command == "retrain train 'my pictures' --optimizer lbfgs"
    assert recipe.options == (("optimizer", "lbfgs"), ("steps", "20"))
    assert recipe.backbone == "inception_v3, 299 x 299 pixels, 2,048 numbers per picture"
    assert recipe.versions == (("retrain", "0.2.0"), ("python", "3.11.7"))


def test_training_options_have_the_steps_that_epochs_came_to():
    options = training_options(make_record(options=make_record()["options"] | {"epochs": 3.0, "steps": 77}))
    assert (options.epochs, options.steps, options.optimizer) == (None, 77, "lbfgs")


def test_the_best_epoch_if_there_was_fine_tuning():
    assert make_run().best_epoch is None
    assert make_run(fine_tuning={"best_epoch": 4}).best_epoch == 4
    assert make_run(temperature=1.5).temperature == 1.5
