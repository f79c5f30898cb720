"""Loads the next model on a thread of its own while the loop judges on with the present one."""

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from config.errors import UserError
from config.settings import Settings
from device.judging.model import Model, Variant, load_model
from device.models.activation import check_recipe, model_path


class ModelLoader:
    """One model at a time, by the number of the activation that asks for it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pool = ThreadPoolExecutor(1, "model-loader")
        self._wanted = 0
        self._loading: Future[Model] | None = None

    def want(self, activation: int, model_id: str, variant: Variant) -> None:
        """Begin to load the model of an activation, unless that was asked for already."""
        if activation != self._wanted:
            self._wanted = activation
            self._loading = self._pool.submit(self._load, model_id, variant)

    def forget(self) -> None:
        """Load the model anew the next time, even if the activation is the same."""
        self._wanted = 0

    def get(self, *, wait: bool = False) -> Model | UserError | None:
        """The model that was asked for, or why it cannot be used; None: it is not there yet."""
        if self._loading is None or not (wait or self._loading.done()):
            return None
        try:
            return self._loading.result()
        except UserError as error:
            return error

    def close(self) -> None:
        """End the thread."""
        self._pool.shutdown(cancel_futures=True)

    def _load(self, model_id: str, variant: Variant) -> Model:
        path: Path = model_path(self._settings.device.data, model_id)
        model = load_model(path, self._settings.device.threads, variant)
        if model.id != model_id:
            raise UserError(f"{path}: not the model it was; go back to another one")
        check_recipe(model.metadata, self._settings.recipe, str(path))
        return model
