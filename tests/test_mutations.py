"""The checker is checked: of many planted faults each is named by the check that is meant for it."""

import importlib.util
import sys

import pytest
from faults import FAULTS, QUICK, RIGHT

from nbcaffe.checks import CHECKS, Case, examine
from nbcaffe.layer import REGISTRY

BY_NAME = {check.name: check for check in CHECKS}


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """Writes a layer, with a fault or without, and returns its case."""

    def plant(kind, fault=None):
        text = RIGHT[kind]
        if fault:
            _, old, new, _ = FAULTS[fault]
            assert old in text, f"{fault}: the text it replaces is not there"
            text = text.replace(old, new, 1)
        stem = f"planted_{kind.lower()}_{abs(hash(fault))}"
        path = tmp_path / f"{stem}.py"
        path.write_text(text)
        spec = importlib.util.spec_from_file_location(stem, path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, stem, module)
        monkeypatch.delitem(REGISTRY, kind, raising=False)
        spec.loader.exec_module(module)
        return Case(kind, REGISTRY[kind].examples[0])

    yield plant
    for kind in RIGHT:
        REGISTRY.pop(kind, None)


def failing(case, checks=CHECKS):
    found = {check.name: examine(check, case) for check in checks}
    return {name: finding.fault for name, finding in found.items() if finding and not finding.passed}


@pytest.mark.parametrize("kind", RIGHT)
def test_without_a_fault_nothing_is_found(planted, kind):
    assert not failing(planted(kind))


@pytest.mark.parametrize("fault", QUICK)
def test_the_right_check_names_the_fault(planted, fault):
    kind, _, _, check = FAULTS[fault]
    case = planted(kind, fault)
    assert failing(case, [BY_NAME[check]])


@pytest.mark.slow
def test_of_all_faults_95_percent_are_named_by_the_right_check_and_none_is_missed(planted):
    assert len(FAULTS) >= 40
    found = {fault: failing(planted(kind, fault)) for fault, (kind, *_) in FAULTS.items()}
    wrong = {fault: sorted(by) for fault, by in found.items() if FAULTS[fault][-1] not in by}
    missed = [fault for fault, by in found.items() if not by]
    print(f"{len(FAULTS)} faults, {len(FAULTS) - len(wrong)} named by the right check, {len(missed)} missed")
    assert not missed and len(wrong) <= 0.05 * len(FAULTS), wrong
