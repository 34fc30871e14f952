"""Loaders: the same batches for any number of workers and from any start, and errors that arrive as they are."""

import gc
import signal
from itertools import islice

import cv2
import numpy as np
import pytest
import torch

from semiseg.aug import RandomCrop
from semiseg.data.loader import eval_loader, fixed_train_subset, init_worker, train_loader
from semiseg.errors import DataError

AUG = RandomCrop(flip=True, scale_range=(0.5, 1.5), color=0.2)


def batches(bundle, count, pool="unlabeled", **settings):
    defaults = {"aug": AUG, "crop_size": 16, "batch_size": 4, "seed": 0}
    return list(islice(train_loader(bundle, pool=pool, **(defaults | settings)), count))


def assert_same(got, expected):
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        for a, b in zip(one, other, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_workers_and_restarts_change_nothing(bundle):
    expected = batches(bundle, 6)
    assert_same(batches(bundle, 4, start=8), expected[2:])
    assert_same(batches(bundle, 6, num_workers=2, multiprocessing_context="spawn"), expected)


def test_pools_hold_their_own_patches(bundle):
    for pool, patches in (("labeled", bundle.pools.train), ("real", bundle.pools.train)):
        seen = torch.cat([batch.image[:, 2, 0, 0] for batch in batches(bundle, 6, pool=pool, aug=RandomCrop())])
        numbers = {cv2.imread(str(bundle.index.image_path(int(patch))))[0, 0, 0] for patch in patches}
        assert set(seen.tolist()) == numbers


def test_real_batches_come_in_another_order(bundle):
    labeled, real = (batches(bundle, 3, pool=pool, aug=RandomCrop()) for pool in ("labeled", "real"))
    assert any(not torch.equal(a.image, b.image) for a, b in zip(labeled, real, strict=True))


def test_hidden_masks_are_closed_without_audit(bundle):
    assert any(bool((batch.mask != 255).any()) for batch in batches(bundle, 2))
    assert all(bool((batch.mask == 255).all()) for batch in batches(bundle, 2, audit=False))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_global_random_state_is_left_alone(bundle, num_workers):
    before = torch.get_rng_state()
    batches(bundle, 2, num_workers=num_workers)
    list(eval_loader(bundle, bundle.pools.val, 2, num_workers))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_workers_error_arrives_as_it_was_raised(bundle, num_workers):
    path = bundle.index.image_path(int(bundle.pools.unlabeled[0]))
    path.write_bytes(b"broken")
    loader = train_loader(
        bundle, pool="unlabeled", aug=AUG, crop_size=16, batch_size=4, seed=0, num_workers=num_workers
    )
    with pytest.raises(DataError) as caught:
        list(islice(loader, 2))
    message = str(caught.value)
    del loader, caught  # the traceback would keep the workers waiting
    gc.collect()
    assert str(path) in message
    assert "\n" not in message, "one message, not the traceback of a worker"


@pytest.mark.parametrize(
    ("pool", "remedy"),
    [
        ("labeled", r"12 labelled .*batch of 13.*trainer\.batch_size=12"),
        ("unlabeled", r"8 unlabelled .*batch of 13.*trainer\.unlabeled_batch_size=8"),
    ],
)
def test_a_pool_smaller_than_a_batch_names_the_remedy(bundle, pool, remedy):
    with pytest.raises(DataError, match=remedy):
        batches(bundle, 1, pool=pool, batch_size=13)


def test_an_empty_unlabelled_pool_says_how_to_go_on(bundle):
    bundle.pools.unlabeled = bundle.pools.unlabeled[:0]
    with pytest.raises(DataError, match=r"no unlabelled patches.*pseudo_label=none"):
        batches(bundle, 1)


def test_evaluation_runs_in_order_again_and_again(bundle):
    loader = eval_loader(bundle, bundle.pools.val, batch_size=3)
    assert len(loader) == 2
    first, second = list(loader), list(loader)
    assert_same(second, first)
    assert [len(batch.mask) for batch in first] == [3, 1]
    numbers = torch.cat([batch.image[:, 2, 0, 0] for batch in first]).tolist()
    assert numbers == [cv2.imread(str(bundle.index.image_path(int(p))))[0, 0, 0] for p in bundle.pools.val]


@pytest.mark.parametrize(("asked", "got"), [(0, 0), (1, 1), (8, 2)])
def test_evaluation_takes_few_workers_and_lets_them_go(bundle, asked, got):
    loader = eval_loader(bundle, bundle.pools.val, 2, num_workers=asked)
    assert (loader.num_workers, loader.persistent_workers) == (got, False)


def test_evaluation_pads_to_the_largest_of_a_batch(bundle):
    patch = int(bundle.pools.val[1])
    cv2.imwrite(str(bundle.index.image_path(patch)), np.full((30, 20, 3), 9, dtype=np.uint8))
    cv2.imwrite(str(bundle.index.mask_path(patch)), np.zeros((30, 20), dtype=np.uint8))
    (batch,) = eval_loader(bundle, bundle.pools.val, batch_size=4)
    assert batch.image.shape == (4, 3, 30, 24)
    assert bool((batch.mask[1, :, 20:] == 255).all() & (batch.mask[0, 24:] == 255).all())


def test_the_train_subset_is_fixed_and_of_the_size_asked_for(bundle):
    subset = fixed_train_subset(bundle, size=4, seed=0)
    np.testing.assert_array_equal(subset, fixed_train_subset(bundle, size=4, seed=0))
    assert len(set(subset.tolist())) == 4
    assert set(subset.tolist()) <= set(bundle.pools.train.tolist())
    np.testing.assert_array_equal(fixed_train_subset(bundle, size=99, seed=0), np.sort(bundle.pools.train))


def test_workers_keep_opencv_to_one_thread(monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # what the workers ignore, the tests do not
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        init_worker(0)
        assert cv2.getNumThreads() <= 1
    finally:
        cv2.setNumThreads(before)
