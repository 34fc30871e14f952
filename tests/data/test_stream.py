"""A position alone decides the patch, whatever was asked for before."""

from itertools import islice

import numpy as np

from semiseg.data.stream import BatchSampler, Draw, Stream, generator_at

POOL = np.array([3, 5, 8, 13, 21, 34, 55], dtype=np.int64)


def walk(stream: Stream, positions) -> list[int]:
    return [stream.patch_at(position) for position in positions]


def test_every_epoch_shows_every_patch_once_in_its_own_order():
    order = np.reshape(walk(Stream(POOL, seed=1, stream_id=0), range(70)), (10, 7))
    np.testing.assert_array_equal(np.sort(order, axis=1), np.tile(POOL, (10, 1)))
    assert len({tuple(epoch) for epoch in order}) > 5


def test_a_position_does_not_depend_on_the_way_to_it():
    expected = walk(Stream(POOL, 1, 0), range(50))
    positions = np.random.default_rng(0).permutation(50)
    jumping = Stream(POOL, 1, 0)
    assert walk(jumping, positions.tolist()) == [expected[p] for p in positions]


def test_the_order_is_the_documented_one():
    assert walk(Stream(POOL, 9, 2), range(14, 21)) == np.random.default_rng([9, 2, 0, 2]).permutation(POOL).tolist()


def test_seeds_and_streams_walk_differently():
    walks = {tuple(walk(Stream(POOL, seed, stream_id), range(21))) for seed in (0, 1) for stream_id in (0, 1, 2)}
    assert len(walks) == 6


def test_batches_are_consecutive_and_go_on_at_another_size():
    first = list(islice(BatchSampler(4), 3))
    assert first == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert list(islice(BatchSampler(3, start=12), 2)) == [[12, 13, 14], [15, 16, 17]]


def test_generators_differ_by_purpose():
    assert len({generator_at(0, 0, draw, 5).random() for draw in Draw}) == 3
