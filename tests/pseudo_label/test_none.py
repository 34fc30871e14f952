import torch

from semiseg.pseudo_label import NoPseudoLabels


def test_it_is_never_active_whatever_the_recipe_sets():
    labeler = NoPseudoLabels(start_step=0, weight=1.0)
    assert not labeler.active(0) and not labeler.self_training(10**6)
    assert not labeler.needs_teacher and not labeler.needs_real


def test_it_keeps_no_pixel():
    label = NoPseudoLabels()(torch.randn(2, 3, 4, 4), None, torch.randn(2, 3, 4, 4), None, step=0)
    assert label.target.shape == (2, 4, 4) and not label.keep.any()
    assert (label.masked_target() == 255).all() and not label.losses
