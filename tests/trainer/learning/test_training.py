"""A training run: learns, repeats, stops."""

import os
import signal

import numpy as np
import pytest
import torch

from camera.milled_steel import CLASSES, random_patch
from trainer.learning.augmentation import augment
from trainer.learning.muon import Muon, orthogonalise
from trainer.learning.networks import KINDS, GlobalPoolingNet, Kind, predict_log_probabilities
from trainer.learning.training import Progress, Training, chance_loss, one_cycle, train

SHORT = Training(fewest_steps=25, most_steps=25)


@pytest.fixture(scope="module")
def labelled() -> tuple[np.ndarray, np.ndarray]:
    """48 patches of two easy classes: clean, and rolled by noise."""
    rng = np.random.default_rng(0)
    clean = [random_patch(i, CLASSES[0]).image for i in range(24)]
    rough = [rng.integers(0, 256, (200, 200), dtype=np.uint8) for _ in range(24)]
    return np.stack(clean + rough), np.repeat([0, 1], 24)


def weights(network: torch.nn.Module) -> np.ndarray:
    return np.concatenate([p.detach().numpy().ravel() for p in network.parameters()])


def test_learns_and_repeats_itself(labelled: tuple[np.ndarray, np.ndarray]) -> None:
    first = train(*labelled, 2, SHORT, seed=1)
    again = train(*labelled, 2, SHORT, seed=1)
    other = train(*labelled, 2, SHORT, seed=2)
    np.testing.assert_array_equal(weights(first.network), weights(again.network))
    assert not np.array_equal(weights(first.network), weights(other.network))
    assert first.steps == 25
    assert not first.stopped
    assert not first.network.training
    log_p = predict_log_probabilities(first.network, torch.from_numpy(labelled[0]))
    assert (log_p.argmax(1).numpy() == labelled[1]).mean() > 0.95


@pytest.mark.parametrize("kind", KINDS)
def test_every_network_can_be_trained(labelled: tuple[np.ndarray, np.ndarray], kind: Kind) -> None:
    training = Training(network=kind, fewest_steps=3, most_steps=3)
    trained = train(*labelled, 2, training, seed=0)
    assert trained.network.kind == kind
    log_p = predict_log_probabilities(trained.network, torch.from_numpy(labelled[0][:2]))
    assert torch.isfinite(log_p).all()


def test_stops_when_told_with_the_weights_so_far(
    labelled: tuple[np.ndarray, np.ndarray],
) -> None:
    def stop(progress: Progress) -> bool:
        return progress.step == 7

    trained = train(*labelled, 2, SHORT, seed=0, on_step=stop)
    assert trained.stopped
    assert trained.steps == 7
    assert np.isfinite(weights(trained.network)).all()


def test_ctrl_c_ends_the_run_with_the_weights_so_far(
    labelled: tuple[np.ndarray, np.ndarray],
) -> None:
    def press(progress: Progress) -> None:
        if progress.step == 5:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
    trained = train(*labelled, 2, SHORT, seed=0, on_step=press)
    signal.signal(signal.SIGINT, before)
    assert trained.stopped
    assert 5 <= trained.steps <= 7
    assert np.isfinite(weights(trained.network)).all()


def test_the_result_is_the_average_of_the_weights(labelled: tuple[np.ndarray, np.ndarray]) -> None:
    """After one step with the bias taken out, the average is the weights themselves."""
    one = Training(fewest_steps=1, most_steps=1)
    slow = Training(fewest_steps=1, most_steps=1, averaging=0.5)
    np.testing.assert_allclose(
        weights(train(*labelled, 2, one, 0).network),
        weights(train(*labelled, 2, slow, 0).network),
        rtol=1e-5, atol=1e-7,
    )  # fmt: skip


@pytest.mark.parametrize("weight", [0, np.nan])
def test_a_dead_start_is_made_anew(
    labelled: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch, weight: float
) -> None:
    made: list[GlobalPoolingNet] = []

    def broken_first(kind: str, classes: int, dropout: float, **_: bool) -> GlobalPoolingNet:
        network = GlobalPoolingNet("gapc", classes, dropout)
        if not made:
            for parameter in network.base.parameters():
                parameter.data[:] = weight
                parameter.requires_grad_(False)
        made.append(network)
        return network

    monkeypatch.setattr("trainer.learning.training.make_network", broken_first)
    longer = Training(fewest_steps=40, most_steps=40)
    trained = train(*labelled, 2, longer, seed=0)
    assert len(made) == 2
    assert trained.network is made[1]
    assert trained.steps == 40


def test_the_last_start_is_never_left_half_trained(
    labelled: tuple[np.ndarray, np.ndarray],
) -> None:
    """Where nearly all labels are of one class, no loss is much better than chance."""
    few = Training(fewest_steps=10, most_steps=10, batch=4)
    assert train(labelled[0][:8], labelled[1][:8], 2, few, seed=0).steps == 10


@pytest.mark.parametrize(
    ("patches", "labels"),
    [(np.empty((0, 200, 200), np.uint8), []), (np.zeros((1, 200, 200), np.uint8), [2])],
)
def test_nonsense_is_refused(patches: np.ndarray, labels: list[int]) -> None:
    with pytest.raises(ValueError, match="below the number of classes"):
        train(patches, np.array(labels, np.int64), 2, SHORT, 0)


def test_length_grows_with_the_root_of_the_labels() -> None:
    training = Training()
    assert training.steps(4) == training.fewest_steps
    assert training.steps(216) == pytest.approx(2 * training.steps(54), abs=1)
    assert training.steps(100_000) == training.most_steps


def test_learning_rate_rises_and_falls_once() -> None:
    rates = [one_cycle(i / 100, 0.3) for i in range(100)]
    assert rates.index(max(rates)) == 30
    assert max(rates) == pytest.approx(1)
    assert rates[:31] == sorted(rates[:31])
    assert rates[30:] == sorted(rates[30:], reverse=True)
    assert min(rates) == 0.01


def test_chance_is_the_entropy_of_the_class_shares() -> None:
    assert chance_loss(np.array([0, 1, 2, 3]), 0.0, 4) == pytest.approx(np.log(4))
    assert chance_loss(np.array([0, 0, 0, 1]), 0.0, 2) < np.log(2)


@pytest.mark.parametrize("shape", [(32, 9), (64, 288), (64, 576), (9, 32), (3, 3)])
def test_muon_makes_updates_about_orthogonal(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    update = orthogonalise(torch.randn(shape))
    singular = torch.linalg.svdvals(update)
    assert singular.min() > 0.3
    assert singular.max() < 1.4


def test_muon_goes_downhill() -> None:
    torch.manual_seed(0)
    matrix = torch.nn.Parameter(torch.randn(4, 6))
    goal = torch.randn(4, 6)
    optimiser = Muon([matrix], lr=0.03)
    before = float((matrix - goal).detach().norm())
    for _ in range(100):
        optimiser.zero_grad()
        (matrix - goal).square().sum().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert float((matrix - goal).detach().norm()) < before / 2


def test_augmentation_only_moves_turns_and_lights() -> None:
    patch = np.arange(40_000, dtype=np.uint32).reshape(200, 200)
    unique = (patch % 251).astype(np.uint8)
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(200):
        view = augment(unique, rng, shift=0.0, light=0.0)
        assert view.dtype == np.float32
        turned = [np.rot90(f, k) for f in (unique, unique[:, ::-1]) for k in range(4)]
        matches = [i for i, t in enumerate(turned) if np.array_equal(view, t)]
        assert len(matches) == 1
        seen |= set(matches)
    assert seen == set(range(8))


def test_augmentation_never_moves_a_defect_out_of_the_picture() -> None:
    patch = np.zeros((200, 200), np.uint8)
    patch[30:170, 25:35] = 200
    rng = np.random.default_rng(0)
    for _ in range(100):
        view = augment(patch, rng, shift=0.1, light=0.0)
        assert view.shape == (200, 200)
        assert view.sum() >= 0.99 * patch.sum()


def test_augmentation_by_light_is_a_ramp() -> None:
    patch = np.random.default_rng(0).integers(0, 256, (200, 200), dtype=np.uint8)
    lit = augment(patch, np.random.default_rng(5), shift=0.1, light=0.6)
    dark = augment(patch, np.random.default_rng(5), shift=0.1, light=0.0)
    ramp = lit - dark
    np.testing.assert_allclose(np.diff(ramp, 2, axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(np.diff(ramp, 2, axis=1), 0, atol=1e-3)
    assert ramp.std() > 0
