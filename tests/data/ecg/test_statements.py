"""Statements of databases in one vocabulary, and the one label that a record gets."""

import pytest

from tgdp_jax.data.ecg.cpsc import NUMBERED, SNOMED
from tgdp_jax.data.ecg.ludb import FINDINGS, statements
from tgdp_jax.data.ecg.statements import SCHEMES, STATEMENTS, SUPERCLASS, likelihoods, multi_hot, one_label
from tgdp_jax.errors import UserError


def label(scheme: str, **found: float) -> str:
    names = {name.replace("x1AVB", "1AVB"): value for name, value in found.items()}
    (y,) = one_label(likelihoods(names, "test")[None], scheme)
    return "none" if y < 0 else list(SCHEMES[scheme])[y]


def test_the_vocabulary_is_ptb_xls():
    assert len(STATEMENTS) == len(set(STATEMENTS)) == 71 and len(SUPERCLASS) == 44
    counts = {name: list(SUPERCLASS.values()).count(name) for name in SCHEMES["superclass"]}
    assert set(SCHEMES["statement"]) == set(STATEMENTS)
    assert counts == {"NORM": 1, "MI": 14, "STTC": 13, "CD": 11, "HYP": 5}


def test_every_scheme_and_database_speaks_it():
    for scheme in SCHEMES.values():
        groups = [statement for group in scheme.values() for statement in group]
        assert set(groups) <= set(STATEMENTS) and len(groups) == len(set(groups))
    assert set(NUMBERED.values()) == set(SNOMED.values()) == set(SCHEMES["cpsc"])
    assert {statement for statement in FINDINGS.values() if statement} <= set(STATEMENTS)


def test_the_likeliest_statement_decides():
    assert label("superclass", NORM=80, IMI=15, SR=0) == "NORM"
    assert label("superclass", NORM=15, IMI=80) == "MI"
    assert label("superclass", LVH=35, NDT=100, ISC_=50) == "STTC"


def test_among_equals_the_graver_one():
    assert label("superclass", NORM=0, CLBBB=0) == "CD"
    assert label("superclass", LVH=100, IMI=100, NORM=100) == "MI"
    assert label("rhythm", SR=0, AFIB=0) == "AFIB"
    assert label("cpsc", NORM=100, x1AVB=100) == "1AVB"
    assert label("statement", NORM=100, SR=0, PACE=0, LVH=100) == "LVH" and label("statement", SR=0, PACE=0) == "PACE"


def test_a_statement_of_unknown_likelihood_counts_as_made():
    assert label("superclass", LVH=0) == "HYP"
    assert multi_hot(likelihoods({"LVH": 0, "SR": 0}, "test")).sum() == 2


def test_a_record_without_any_of_the_classes_has_no_label():
    assert label("superclass", SR=0, ABQRS=0) == "none" and label("rhythm", NORM=100) == "none"
    assert label("statement") == "none"


def test_unknown_statements_and_schemes_are_refused():
    with pytest.raises(UserError, match="record 3 has the statement 'NORMAL', which is none of PTB-XL's 71"):
        likelihoods({"NORMAL": 100.0}, "record 3")
    with pytest.raises(UserError, match="unknown label scheme 'codes': choose one of cpsc, rhythm, statement, superc"):
        label("codes", SR=0)


def made(*findings: str) -> set[str]:
    comments = ["<age>: 51", "<sex>: F", "<diagnoses>:", *findings]
    return {name for name, value in zip(STATEMENTS, statements(comments, "1"), strict=True) if value == 100}


def test_findings_of_ludb():
    axis = "Electric axis of the heart: left axis deviation. "
    assert made("Rhythm: Sinus bradycardia.", axis) == {"SBRAD", "NORM"}
    assert made("Rhythm: Atrial fibrillation.", axis) == {"AFIB"}
    found = made("Rhythm: Sinus rhythm.", axis, "Incomplete left bundle branch block. ", "Left atrial hypertrophy. ")
    assert found == {"SR", "ILBBB", "LAO/LAE"}
    # Found, but nothing that PTB-XL has a statement for: no normal record either.
    assert made("Rhythm: Sinus rhythm.", axis, "Early repolarization syndrome. ") == {"SR"}
    assert made("Rhythm: Sinus rhythm.", "III degree AV-block.", "STEMI: septal.") == {"SR", "3AVB", "ASMI"}
    assert made("Undefined ischemia/scar/supp.NSTEMI: apical.", "Ischemia: inferior wall.") == {"ISC_", "ISCIN"}


def test_an_unknown_finding_is_refused():
    with pytest.raises(UserError, match="unknown finding 'torsade de pointes'"):
        made("Torsade de pointes")
