from __future__ import annotations

import pytest

from plugins.module_utils._module.spec import ArgumentSpec, progress_spec


def test_rules_travel_with_their_options():
    a = ArgumentSpec({"x": {}}, mutually_exclusive=(("x", "y"),))
    b = ArgumentSpec({"y": {}}, required_one_of=(("y",),), required_if=(("y", 1, ["x"]),))
    kwargs = a.merge(b).to_kwargs()
    assert set(kwargs["argument_spec"]) == {"x", "y"}
    assert kwargs["mutually_exclusive"] == (("x", "y"),)
    assert kwargs["required_one_of"] == (("y",),) and kwargs["required_if"] == (("y", 1, ["x"]),)


def test_an_option_that_is_defined_twice_is_refused():
    with pytest.raises(ValueError, match="progress_file"):
        progress_spec().merge(progress_spec())
