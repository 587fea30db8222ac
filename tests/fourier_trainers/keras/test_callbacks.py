from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import fourier_format
from fourier_format.errors import InvalidAdapterError, UsageError
from fourier_trainers.keras import AdapterCallback, FourierModel, capture
from tests.fourier_trainers.keras import models


def fit(model: Any, *callbacks: Any, epochs: int = 3, validate: bool = True, **more: Any) -> Any:
    x, y = models.array(8, 8), models.classes(8, 6)
    return models.compiled(model).fit(
        x,
        y,
        batch_size=4,
        epochs=epochs,
        verbose=0,
        validation_data=(x, y) if validate else None,
        callbacks=list(callbacks),
        **more,
    )


def attached() -> Any:
    return models.attached(models.functional(), "first", "second")


class Watching(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Holds each epoch's adapter, and gives `fit` the figures that a test wants."""

    def __init__(self, *figures: float, name: str = "val_loss") -> None:
        super().__init__()
        self.figures, self.figure = figures, name
        self.adapters: list[bytes] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        if self.figures:
            logs[self.figure] = self.figures[epoch]
        self.adapters.append(fourier_format.to_bytes(capture(self.model)))


def written(
    path: Path, figures: tuple[float, ...], name: str = "val_loss", **more: Any
) -> tuple[int, Any]:
    """Returns the epoch whose adapter is in the file, and the callback."""
    watching, callback = Watching(*figures, name=name), AdapterCallback(path, **more)
    fit(attached(), watching, callback, epochs=len(figures))
    assert len(set(watching.adapters)) == len(figures)
    return watching.adapters.index(path.read_bytes()), callback


def test_the_best_epochs_adapter_is_in_the_file(tmp_path: Path) -> None:
    epoch, callback = written(tmp_path / "a.fft", (2.0, 1.0, 3.0))

    assert epoch == 1
    assert callback.best == 1.0


@pytest.mark.parametrize(
    ("monitor", "mode", "best"),
    [
        ("val_loss", None, 0),
        ("val_accuracy", None, 2),
        ("val_auc", None, 2),
        ("val_f1_score", None, 2),
        ("val_perplexity", None, 0),
        ("val_loss", "max", 2),
        ("val_accuracy", "min", 0),
        (None, None, 2),
    ],
)
def test_the_mode_is_that_of_the_figure_unless_it_is_given(
    tmp_path: Path, monitor: str | None, mode: Any, best: int
) -> None:
    name = monitor or "val_loss"

    epoch, _ = written(tmp_path / "a.fft", (1.0, 2.0, 3.0), name, monitor=monitor, mode=mode)

    assert epoch == best


def test_an_epoch_that_is_as_good_does_not_replace_the_first(tmp_path: Path) -> None:
    assert written(tmp_path / "a.fft", (1.0, 1.0))[0] == 0


def test_a_figure_that_is_no_number_is_never_the_best(tmp_path: Path) -> None:
    epoch, callback = written(tmp_path / "a.fft", (float("nan"), 2.0, float("nan")))

    assert epoch == 1
    assert callback.best == 2.0


def test_a_figure_that_fit_does_not_report_is_an_error_that_lists_them(tmp_path: Path) -> None:
    words = (
        r"monitor: fit reports no figure .*got val_loss, expected one of: .*loss.*validation_data"
    )
    with pytest.raises(UsageError, match=words):
        fit(attached(), AdapterCallback(tmp_path / "a.fft"), validate=False)

    assert not (tmp_path / "a.fft").exists()


def test_figures_of_fit_itself_are_monitored_and_metadata_written(tmp_path: Path) -> None:
    path = tmp_path / "a.fft.h5"
    model = attached()

    history = fit(model, AdapterCallback(path, metadata={"run": "x"}), epochs=1).history

    adapter = fourier_format.load(path)
    assert adapter.metadata == {"run": "x"}
    assert "val_loss" in history
    assert np.array_equal(
        adapter.entry_sets[0].coefficients, capture(model).entry_sets[0].coefficients
    )


def test_a_file_is_whole_or_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.fft"
    path.write_bytes(b"the one before")

    def broken(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", broken)
    monkeypatch.setattr("os.rename", broken)
    monkeypatch.setattr("pathlib.Path.replace", broken)
    with pytest.raises((OSError, fourier_format.errors.FileAccessError)):
        fit(attached(), AdapterCallback(path, monitor=None), epochs=1)

    assert path.read_bytes() == b"the one before"
    assert list(tmp_path.iterdir()) == [path]


def test_an_earlier_file_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "a.fft"
    path.write_bytes(b"the one before")

    fit(attached(), AdapterCallback(path), epochs=1)

    assert len(fourier_format.load(path).targets) == 2


def test_a_training_that_diverges_stops_with_the_last_good_file(tmp_path: Path) -> None:
    model, path = attached(), tmp_path / "a.fft"

    class Diverging(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
        def on_epoch_end(self, epoch: int, _: Any = None) -> None:
            if epoch == 1:
                self.model.get_layer("first").fourier.coefficients.assign(np.full(12, np.inf))

    with pytest.raises(InvalidAdapterError, match="first: 12 of 12 coefficients are not finite"):
        fit(model, Diverging(), AdapterCallback(path, monitor=None))

    assert fourier_format.load(path) is not None


def test_what_cannot_be_written_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such folder; make it first"):
        AdapterCallback(tmp_path / "none" / "a.fft")
    with pytest.raises(UsageError, match=r"mode: not a mode \(got 'best', expected min, max"):
        AdapterCallback(tmp_path / "a.fft", mode="best")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no adapter attached"):
        fit(models.functional(), AdapterCallback(tmp_path / "a.fft"))


def test_a_wrapped_model_writes_the_adapter_of_the_model_in_it(tmp_path: Path) -> None:
    model = attached()

    fit(FourierModel(model), AdapterCallback(tmp_path / "a.fft", monitor=None), epochs=1)

    assert (tmp_path / "a.fft").read_bytes() == fourier_format.to_bytes(capture(model))


def test_keras_own_checkpoints_of_weights_work_during_fit(tmp_path: Path) -> None:
    path = tmp_path / "{epoch}.weights.h5"
    watching = Watching()
    kept = keras.callbacks.ModelCheckpoint(path, save_weights_only=True)

    fit(attached(), watching, kept, epochs=2)

    for epoch in (1, 2):
        model = attached()
        model.load_weights(tmp_path / f"{epoch}.weights.h5")
        assert fourier_format.to_bytes(capture(model)) == watching.adapters[epoch - 1]


def test_keras_own_checkpoints_of_whole_models_work_with_the_wrapper(tmp_path: Path) -> None:
    watching = Watching()
    kept = keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras")

    fit(FourierModel(attached()), watching, kept, epochs=2)

    again = keras.saving.load_model(tmp_path / "1.keras")
    assert fourier_format.to_bytes(capture(again)) == watching.adapters[0]


def test_a_training_that_was_cut_off_goes_on_where_it_was(tmp_path: Path) -> None:
    class Cut(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
        def on_epoch_begin(self, epoch: int, _: Any = None) -> None:
            if epoch == 1:
                raise KeyboardInterrupt

    def backup() -> Any:
        return keras.callbacks.BackupAndRestore(tmp_path / "backup")

    whole = attached()
    fit(whole, epochs=2, shuffle=False)
    with pytest.raises(KeyboardInterrupt):
        fit(attached(), backup(), Cut(), epochs=2, shuffle=False)

    model = attached()
    fit(model, backup(), epochs=2, shuffle=False)

    assert fourier_format.to_bytes(capture(model)) == fourier_format.to_bytes(capture(whole))


def test_early_stopping_restores_the_best_coefficients() -> None:
    model, watching = attached(), Watching(2.0, 1.0, 3.0, 4.0)
    stopping = keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True)

    fit(model, watching, stopping, epochs=4)

    assert fourier_format.to_bytes(capture(model)) == watching.adapters[1]
