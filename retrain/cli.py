"""The commands: a thin shell that parses, calls the library, prints, and turns errors into exit codes."""

import argparse
import dataclasses
import io
import json
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import retrain
from retrain.arguments import EXIT_USAGE, Parser, add_options, options_from
from retrain.cache_cli import add_cache_commands
from retrain.config import (
    BackboneOptions,
    CrossValidationOptions,
    EvaluationOptions,
    ExtractionOptions,
    ImageOptions,
    RunOptions,
    SplitOptions,
    TrainingOptions,
    TuningOptions,
)
from retrain.errors import ImageFolderError, Interrupted, RetrainError, UsageError

if TYPE_CHECKING:
    from retrain.console import Progress

__all__ = ["build_parser", "main"]

EXIT_ERROR, EXIT_INTERRUPTED = 1, 130

_DESCRIPTION = """\
Train an image classifier from a folder with one sub-folder of pictures per class.
Pictures go once through a frozen network; their vectors are cached, so that training
takes seconds and a second run costs next to nothing."""

_EPILOG = """\
examples:
  retrain train flower_photos                  pictures -> model/
  retrain predict model rose.jpg tulip.png     label and scores of pictures
  retrain evaluate model other_pictures        accuracy on any labelled folder

The command line of TensorFlow's retrain.py works, too: retrain --image_dir flower_photos ..."""


_TITLES: dict[type, str] = {
    CrossValidationOptions: "cross-validation",
    BackboneOptions: "backbone",
    ExtractionOptions: "pass one: pictures to bottlenecks",
    ImageOptions: "pictures",
    SplitOptions: "split",
    TrainingOptions: "pass two: training",
    TuningOptions: "search",
    EvaluationOptions: "calibration and final test",
    RunOptions: "export",
}


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = Parser(
        prog="retrain",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"retrain {retrain.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], int], help: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
        added.set_defaults(run=run)
        return added

    train = command("train", _train, "train a model on a folder: pass one, pass two, test, export")
    _add_image_dir(train)
    train.add_argument(
        "--model-dir", default="model", metavar="DIR", help="where the model folder goes (default: model)"
    )
    for options in _TITLES:
        if options is not CrossValidationOptions:
            _add_stage(train, options)
    _add_output(train)

    crossval = command("crossval", _crossval, "tell by cross-validation how good a model of a folder would be")
    _add_image_dir(crossval)
    for options in (CrossValidationOptions, BackboneOptions, ExtractionOptions, ImageOptions, TrainingOptions):
        _add_stage(crossval, options)
    _add_output(crossval)

    predict = command("predict", _predict, "classify pictures with a trained model")
    _add_model_dir(predict)
    predict.add_argument("pictures", nargs="+", metavar="PICTURE", help="picture files, or folders of them")
    predict.add_argument("--top", type=int, metavar="N", help="show the N most likely labels only")
    _add_stage(predict, ImageOptions)
    _add_output(predict)

    evaluate = command("evaluate", _evaluate, "measure a trained model on a labelled folder")
    _add_model_dir(evaluate)
    _add_image_dir(evaluate)
    _add_stage(evaluate, ExtractionOptions)
    _add_stage(evaluate, ImageOptions)
    _add_output(evaluate)

    inspect = command("inspect", _inspect, "tell what is in a folder, before training on it")
    _add_image_dir(inspect)
    _add_stage(inspect, ImageOptions)
    _add_stage(inspect, SplitOptions)
    _add_output(inspect)

    extract = command("extract", _extract, "pass one alone: fill the bottleneck cache")
    _add_image_dir(extract, nargs="?")
    extract.add_argument(
        "--benchmark",
        action="store_true",
        help="fill nothing: measure for about a minute how fast this machine is, alone and together, in each "
        "precision, on pictures of IMAGE_DIR (on drawn ones without it), and say which to use",
    )
    _add_stage(extract, BackboneOptions)
    _add_stage(extract, ExtractionOptions)
    _add_stage(extract, ImageOptions)
    _add_output(extract)

    add_cache_commands(commands, _add_output, _print_json)
    return parser


def _add_stage(parser: argparse.ArgumentParser, options: type) -> None:
    add_options(parser, options, _TITLES[options])


def _add_image_dir(parser: argparse.ArgumentParser, nargs: str | None = None) -> None:
    text = "folder with one sub-folder of pictures per class"
    parser.add_argument("image_dir", metavar="IMAGE_DIR", nargs=nargs, help=text)


def _add_model_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model_dir", metavar="MODEL_DIR", help="folder that retrain train made")


def _add_output(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    group.add_argument("--quiet", action="store_true", help="no progress, only results, warnings and errors")
    group.add_argument("--verbose", action="store_true", help="say more about what is done")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; its exit code: 0, 1 for errors, 2 for wrong usage, 130 when interrupted."""
    argv = list(sys.argv[1:] if argv is None else argv)
    warnings.simplefilter("ignore")  # third parties' notes to developers
    for noisy in ("tensorflow", "absl", "h5py"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    signal.signal(signal.SIGTERM, _raise_interrupt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without UTF-8 shows what it can
    try:
        if argv and argv[0].startswith("--") and argv[0] not in ("--help", "--version"):
            from retrain import original

            return original.main(argv)
        args = build_parser().parse_args(argv)
        args.command = ["retrain", *argv]
        logging.basicConfig(
            level=logging.INFO if args.verbose else logging.CRITICAL, format="retrain: %(message)s", stream=sys.stderr
        )
        code = int(args.run(args))
        sys.stdout.flush()  # here, where a full disk or a closed pipe is met with a message
        return code
    except UsageError as error:
        return _fail(error, EXIT_USAGE)
    except Interrupted as error:
        return _fail(error, EXIT_INTERRUPTED)
    except KeyboardInterrupt:
        return _fail("interrupted", EXIT_INTERRUPTED)
    except RetrainError as error:
        return _fail(error, EXIT_ERROR)
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        _forget_output()
        return EXIT_ERROR
    except OSError as error:
        _forget_output()
        where = f": {error.filename}" if error.filename else " (writing the output?)"
        return _fail(f"{error.strerror or error}{where}", EXIT_ERROR)


def _forget_output() -> None:
    """Let what could not be written to stdout go, or Python would try once more on its way out, and complain."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _raise_interrupt(*_: Any) -> None:
    """SIGTERM, as docker stop sends it, ends a run as Ctrl-C does."""
    raise KeyboardInterrupt


def _fail(error: object, code: int) -> int:
    print(f"retrain: error: {' '.join(str(error).split())}", file=sys.stderr)
    return code


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def interrupted(progress: "Progress") -> Interrupted:
    """What to say after Ctrl-C: how far it came, and that nothing is lost."""
    progress.close()
    done = progress.extraction
    if done is None:
        return Interrupted("interrupted before the first picture")
    if done.done < done.pictures:
        return Interrupted(
            f"interrupted after {done.done} of {done.pictures} pictures, their bottlenecks are kept: "
            "the same command goes on from there"
        )
    return Interrupted(
        f"interrupted; the bottlenecks of all {done.pictures} pictures are kept: the same command goes on from there"
    )


# commands


def _run_options(args: argparse.Namespace) -> RunOptions:
    return dataclasses.replace(
        options_from(RunOptions, args),
        backbone=options_from(BackboneOptions, args),
        images=options_from(ImageOptions, args),
        extraction=options_from(ExtractionOptions, args),
        split=options_from(SplitOptions, args),
        training=options_from(TrainingOptions, args),
        tuning=options_from(TuningOptions, args),
        evaluation=options_from(EvaluationOptions, args),
    )


def _train(args: argparse.Namespace) -> int:
    options = _run_options(args)
    from retrain import console, run

    progress = console.Progress(args.quiet, options.training.steps)
    try:
        model = run.train(args.image_dir, args.model_dir, options, _hooks(progress), args.command)
    except KeyboardInterrupt:
        raise interrupted(progress) from None
    finally:
        progress.close()
    if args.json:
        _print_json(model.record)
        return 0
    print(console.describe_run(model.result, model.record, args.model_dir.rstrip("/") or "/"))
    if options.evaluation.print_misclassified:
        print(console.describe_misclassified(model.result.misclassified()))
    return 0


def _crossval(args: argparse.Namespace) -> int:
    folds, options = options_from(CrossValidationOptions, args), _run_options(args)
    from retrain import console
    from retrain.crossval import cross_validate

    progress = console.Progress(args.quiet)
    try:
        found = cross_validate(args.image_dir, folds, options, _hooks(progress))
    except KeyboardInterrupt:
        raise interrupted(progress) from None
    finally:
        progress.close()
    if args.json:
        _print_json(found.as_dict())
    else:
        print(console.describe_cross_validation(found))
    return 0


def _extract(args: argparse.Namespace) -> int:
    options = _run_options(args)
    if args.benchmark:
        if options.backbone.precision != BackboneOptions.precision:
            raise UsageError("--benchmark measures every precision: leave --precision out")
        return _benchmark(args, options)
    if args.image_dir is None:
        raise UsageError("IMAGE_DIR is missing: the folder with one sub-folder of pictures per class")
    from retrain import console, record, run
    from retrain.image_folder import display_path

    progress = console.Progress(args.quiet)
    try:
        extraction, cache = run.extract_folder(args.image_dir, options, _hooks(progress))
    except KeyboardInterrupt:
        raise interrupted(progress) from None
    finally:
        progress.close()
    summary = record.extraction_summary(extraction)
    if args.json:
        _print_json(summary)
        return 0
    for path, reason in extraction.skipped.items():
        print(f"skipped {display_path(path)}: {reason}")
    rate = "" if summary["pictures_per_second"] is None else f" at {summary['pictures_per_second']:.1f} pictures/s"
    print(
        f"{summary['pictures']} files: {summary['cached']} cached, {summary['extracted']} extracted{rate}, "
        f"{summary['skipped']} skipped; cache: {display_path(cache.folder)}"
    )
    return 0


def _benchmark(args: argparse.Namespace, options: RunOptions) -> int:
    from retrain import console, run

    progress = console.Progress(args.quiet)
    measured = run.benchmark(args.image_dir, options, progress.say)
    if args.json:
        _print_json(measured.as_dict())
    else:
        print(console.describe_benchmark(measured))
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    extraction, images = options_from(ExtractionOptions, args), options_from(ImageOptions, args)
    from retrain import console, run
    from retrain.classifier import Classifier

    progress = console.Progress(args.quiet)
    try:
        evaluation = run.evaluate_folder(
            Classifier(args.model_dir), args.image_dir, extraction, images, _hooks(progress)
        )
    except KeyboardInterrupt:
        raise interrupted(progress) from None
    finally:
        progress.close()
    if args.json:
        _print_json(evaluation.as_dict())
    else:
        print(console.describe_evaluation(evaluation))
    return 0


def _predict(args: argparse.Namespace) -> int:
    images = options_from(ImageOptions, args)
    if args.top is not None and args.top < 1:
        raise UsageError(f"--top {args.top}: must be at least 1")
    from retrain.classifier import Classifier, picture_files
    from retrain.image_folder import display_path

    classifier = Classifier(args.model_dir)
    failed = 0
    answers: list[dict[str, Any]] = []
    for prediction in classifier.predict(picture_files(args.pictures), images.max_pixels):
        path = display_path(prediction.path)
        if prediction.error is not None:
            was_named = prediction.path in args.pictures  # else it is litter in a folder, and no failure
            failed += was_named
            answers.append({"path": path, "error": prediction.error})
            print(f"retrain: {'error' if was_named else 'warning'}: {path}: {prediction.error}", file=sys.stderr)
            continue
        scores = dict(list(prediction.scores.items())[: args.top])
        answers.append({"path": path, "label": prediction.label, "score": prediction.score, "scores": scores})
        if not args.json:
            print(f"{path}: " + ", ".join(f"{label} {score:.4f}" for label, score in scores.items()), flush=True)
    if args.json:
        _print_json(answers)
    if not answers:
        raise ImageFolderError(f"no files in {', '.join(map(display_path, args.pictures))}: nothing to classify")
    return EXIT_ERROR if failed else 0


def _inspect(args: argparse.Namespace) -> int:
    images, split = options_from(ImageOptions, args), options_from(SplitOptions, args)
    from retrain import console
    from retrain.inspection import inspect_folder

    progress = console.Progress(args.quiet)
    try:
        inspection = inspect_folder(args.image_dir, images, split, progress.on_inspection)
    finally:
        progress.close()
    if args.json:
        _print_json(inspection.as_dict())
    else:
        print(console.describe_inspection(inspection))
    return 0


def _hooks(progress: "Progress") -> Any:
    from retrain.hooks import Hooks

    return Hooks(
        on_stage=progress.on_stage,
        on_warning=progress.warn,
        on_note=progress.say,
        on_preparation=progress.on_preparation,
        on_extraction=progress.on_extraction,
        on_fold=progress.on_fold,
        on_try=progress.on_try,
        on_evaluation=progress.on_evaluation,
    )
