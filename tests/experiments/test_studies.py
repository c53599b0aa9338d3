"""What the studies ask for: chosen by a rule, of the published size, all different."""

from collections import Counter

import pytest

from srel_core.experiments.studies import (
    PUBLISHED_TRIPLE,
    STUDIES,
    VEHICLES,
    study,
    triples,
)
from srel_core.experiments.training import Schedule


def test_the_triples_are_of_all_kinds_and_different():
    chosen = triples()
    assert chosen[0] == PUBLISHED_TRIPLE and len({frozenset(t) for t in chosen}) == 13
    assert Counter(sum(c in VEHICLES for c in t) for t in chosen) == {3: 4, 2: 4, 1: 4, 0: 1}
    assert all(len(set(triple)) == 3 for triple in chosen)
    appear = Counter(c for triple in chosen for c in triple)
    assert len(appear) == 7 and min(appear.values()) >= 3


@pytest.mark.parametrize("name", STUDIES)
def test_rows_differ_in_their_seed_alone_and_are_of_the_published_size(name):
    configs = set()
    for row, experiments in study(name).rows.items():
        assert [e.seed for e in experiments] == list(range(len(experiments))), row
        configs |= {e.config for e in experiments}
        for e in experiments:
            assert e.probes_per_class == 20 and e.schedule.epochs == 7 and e.augment
            assert "optimizer" in e.rules
            images = 60 * e.schedule.batch_size
            published = Schedule(batch_size=e.schedule.batch_size).measured_steps(images)
            assert set(e.schedule.measured_steps(images)) <= set(published)
    assert len(configs) == sum(len(of) for of in study(name).rows.values())


def test_an_unknown_study_is_refused():
    with pytest.raises(ValueError, match="unknown study 'seed': the nearest is 'seeds'"):
        study("seed")
