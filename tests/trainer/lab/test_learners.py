"""The paper's recipe, the appliance's, and the two rivals that learn otherwise."""

import numpy as np
import pytest
import torch

from config.errors import UserError
from trainer.lab.candidates import averaged
from trainer.lab.consistency import Consistency, ConsistencyLearner
from trainer.lab.handmade import HandmadeLearner, describe
from trainer.lab.learners import (
    CLASSIFIERS,
    BestLearner,
    Learner,
    Lesson,
    PaperLearner,
    PaperRecipe,
    in_eight_orientations,
)
from trainer.lab.protocol import LabData
from trainer.learning.training import Progress, Training

NONE = np.empty((0, 200, 200), np.uint8)
SHORT = Training(fewest_steps=6, most_steps=6)


def weights(learner: PaperLearner) -> np.ndarray:
    assert learner.network is not None
    return torch.cat([p.detach().reshape(-1) for p in learner.network.parameters()]).numpy()


def test_the_learning_rate_is_equation_7() -> None:
    recipe = PaperRecipe()
    assert recipe.rate_at(0) == 0.01
    assert recipe.rate_at(50) == pytest.approx(0.01 / (1 + 0.96 * 50 / 162))
    assert recipe.steps(108) == 50 * 4


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_classifier_of_table_2_learns(name: str, two_classes: LabData) -> None:
    told: list[Progress] = []
    learner = PaperLearner(CLASSIFIERS[name], 2, seed=0, recipe=PaperRecipe(epochs=2))
    some = np.r_[0:10, 20:30]
    lesson = Lesson(two_classes.patches[some], two_classes.labels[some], NONE)
    fitted = learner.fit(lesson, told.append)
    assert fitted.steps == 2
    assert [here.step for here in told] == [1, 2]
    judged = learner.judge(two_classes.patches[:8])
    np.testing.assert_allclose(np.exp(judged.log_probabilities).sum(axis=1), 1)
    assert judged.log_probabilities.dtype == np.float64
    assert len(learner.judge(NONE)) == 0


def test_a_round_goes_on_from_the_one_before(two_classes: LabData) -> None:
    """Algorithm I keeps its weights; with keep=False every round starts anew."""
    few = Lesson(two_classes.patches[15:25], two_classes.labels[15:25], NONE)
    kept = PaperLearner(CLASSIFIERS["gapc"], 2, 0, PaperRecipe(epochs=1))
    kept.fit(few)
    first = weights(kept).copy()
    kept.fit(few)
    assert np.abs(weights(kept) - first).max() < 0.05
    other = PaperLearner(CLASSIFIERS["gapc"], 2, 0, PaperRecipe(epochs=1))
    other.fit(few)
    np.testing.assert_array_equal(weights(other), first)


def test_the_papers_recipe_learns_two_easy_classes(two_classes: LabData) -> None:
    losses: list[float] = []
    learner = PaperLearner(
        CLASSIFIERS["gapc"], 2, 0, PaperRecipe(epochs=15), lambda _, loss: losses.append(loss)
    )
    corners = np.ascontiguousarray(two_classes.patches[:, :96, :96])
    learner.fit(Lesson(corners, two_classes.labels, NONE))
    judged = learner.judge(corners)
    assert (judged.log_probabilities.argmax(axis=1) == two_classes.labels).mean() > 0.9
    assert len(losses) == 15
    assert losses[-1] < losses[0]


def test_eight_orientations_do_not_depend_on_how_a_patch_lies(two_classes: LabData) -> None:
    learner = PaperLearner(CLASSIFIERS["gapc"], 2, 0, PaperRecipe(epochs=1))
    learner.fit(Lesson(two_classes.patches, two_classes.labels, NONE))
    some = two_classes.patches[[0, 30]]
    turned = np.ascontiguousarray(np.rot90(some, 1, (1, 2))[:, ::-1])
    plain = averaged(in_eight_orientations(learner, some))
    np.testing.assert_allclose(plain, averaged(in_eight_orientations(learner, turned)), atol=1e-5)
    np.testing.assert_allclose(np.exp(plain).sum(axis=1), 1)
    assert np.abs(plain - learner.judge(some).log_probabilities).max() > 1e-6


def test_unlabelled_patches_take_part_once_the_averages_are_sure(two_classes: LabData) -> None:
    few, rest = np.arange(16, 24), np.setdiff1d(np.arange(40), np.arange(16, 24))
    corners = np.ascontiguousarray(two_classes.patches[:, :96, :96])
    lesson = Lesson(corners[few], two_classes.labels[few], corners[rest])
    sure = ConsistencyLearner(2, 0, SHORT, setting=Consistency(confidence=0.5, batch=4))
    never = ConsistencyLearner(2, 0, SHORT, setting=Consistency(confidence=1.01, batch=4))
    plain = BestLearner(2, 0, SHORT)
    for learner in (sure, never, plain):
        learner.fit(lesson)
    assert sure.used_share == 1
    assert never.used_share == 0
    judged = [one.judge(corners).log_probabilities for one in (sure, never, plain)]
    assert not np.allclose(judged[0], judged[2], atol=1e-6)


@pytest.mark.parametrize("name", ["hog", "lbp", "hog+lbp"])
def test_hand_made_features_tell_steel_from_noise(name: str, two_classes: LabData) -> None:
    learner: Learner = HandmadeLearner(name, 3)
    some = np.r_[0:6, 20:26]
    learner.fit(Lesson(two_classes.patches[some], two_classes.labels[some], NONE))
    judged = learner.judge(two_classes.patches)
    assert (judged.log_probabilities.argmax(axis=1) == two_classes.labels).mean() > 0.9
    assert (judged.log_probabilities[:, 2] == -np.inf).all()  # nothing was labelled so
    assert len(learner.judge(NONE)) == 0


def test_hand_made_features_of_one_class_say_that_class(two_classes: LabData) -> None:
    learner = HandmadeLearner("lbp", 3)
    learner.fit(Lesson(two_classes.patches[:3], np.array([1, 1, 1]), NONE))
    said = learner.judge(two_classes.patches[18:22]).log_probabilities
    np.testing.assert_array_equal(said, [[-np.inf, 0, -np.inf]] * 4)


def test_lbp_is_nearly_the_same_for_a_turned_patch(two_classes: LabData) -> None:
    patch = two_classes.patches[0]
    turned = np.ascontiguousarray(np.rot90(patch))
    np.testing.assert_allclose(describe(patch, ["lbp"]), describe(turned, ["lbp"]), atol=0.05)


def test_unknown_features_are_refused() -> None:
    with pytest.raises(UserError, match="no hand-made features"):
        HandmadeLearner("sift", 2)
